"""From images and a rig to boxes: ``Inferencer(model)(images, rig)``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bevdepth_plus.deploy.backends import open_backend
from bevdepth_plus.deploy.decoding import decode
from bevdepth_plus.deploy.description import ModelDescription
from bevdepth_plus.deploy.features import Backend, Moment, PerceivedCamera
from bevdepth_plus.deploy.network_images import NetworkImage, NetworkImages
from bevdepth_plus.deploy.results import Boxes, Result
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.images import DECODING, Source
from bevdepth_plus.rigs.rig import Rig, RigCamera


class Detection(NamedTuple):
    """What is found in one frame.

    Attributes:
        boxes: in the key frame's ego.
        depth_maps: camera -> metres on the feature cells of the key frame, ``[h, w]``.
    """

    boxes: Boxes
    depth_maps: dict[str, np.ndarray]


class Inferencer:
    """Runs a detector on images of any rig.

    Args:
        model: folder of exported files (with ``model.json``), or a config file.
        checkpoint: of the config; exported files have none.
        backend: ``torch``, ``onnx``, ``openvino``; ``auto`` takes what the model and the installed
            packages allow, the fastest first, and says so in ``description_line``.
        options: of the backend, such as ``precision`` or ``device``.
        pixels: ``exact`` gives the pixels of training's test pipeline; ``fast`` decodes JPEGs at
            half size.

    Raises:
        DataError: the model cannot be read, or no backend for it is installed.
    """

    def __init__(
        self,
        model: str | Path,
        checkpoint: str | Path | None = None,
        backend: str = "auto",
        pixels: str = "exact",
        **options: Any,
    ) -> None:
        if pixels not in DECODING:
            raise ValueError(f"pixels must be one of {DECODING}, got {pixels!r}")
        self.backend: Backend = open_backend(model, checkpoint, backend, **options)
        self.images = NetworkImages(self.description, fast=pixels == "fast")

    @property
    def description(self) -> ModelDescription:
        """Classes, grid, sizes and decoding of the model."""
        return self.backend.description

    def __call__(
        self,
        images: Mapping[str, Source],
        rig: Rig,
        depth: bool = False,
    ) -> Result:
        """Detect in one moment's images.

        A model of several frames sees the key frame in place of the past, as at the start of a
        scene; :class:`~bevdepth_plus.deploy.streaming.Stream` gives it its past.

        Args:
            images: camera -> path, encoded bytes, or RGB array ``[H, W, 3]`` uint8; any subset of
                the rig's cameras.
            rig: the cameras of the vehicle.
            depth: return depth maps, too.

        Raises:
            DataError: there is no image, a camera is not in the rig, or an image cannot be used.
        """
        if not images:
            raise DataError(f"no images; the rig has the cameras {', '.join(rig.names)}")
        for name in images:
            rig[name]  # raises where the rig has no such camera
        clock = Stopwatch()
        ordered = [camera for camera in rig.cameras if camera.name in images]
        with clock.stage("pixels"):
            prepared = [self.prepare(images[camera.name], camera) for camera in ordered]
        with clock.stage("image part"):
            perceived = self.perceive(prepared, ordered)
        found = self.detect([[(camera, camera.ego_T_cam) for camera in perceived]], clock)
        return Result(
            found.boxes,
            cameras=tuple(camera.name for camera in perceived),
            missing={name: "no image" for name in rig.names if name not in images},
            depth=found.depth_maps if depth else {},
            milliseconds=clock.milliseconds,
        )

    def prepare(self, image: Source, camera: RigCamera) -> NetworkImage:
        """The network's pixels of one image.

        Raises:
            DataError: the image cannot be decoded or has another size than the rig says.
        """
        return self.images(image, camera)

    def perceive(
        self,
        images: Sequence[NetworkImage],
        cameras: Sequence[RigCamera],
        stamps: Sequence[float | None] | None = None,
    ) -> list[PerceivedCamera]:
        """Run the image part on prepared images of these cameras."""
        features = self.backend.perceive(
            np.stack([image.pixels for image in images]),
            np.stack([image.intrinsics for image in images]),
            np.stack([camera.ego_T_cam for camera in cameras]),
            np.stack([image.image_aug for image in images]),
        )
        stamps = [None] * len(cameras) if stamps is None else stamps
        return [
            PerceivedCamera(c.name, f, image.intrinsics, image.image_aug, c.ego_T_cam, stamp)
            for c, f, image, stamp in zip(cameras, features, images, stamps, strict=True)
        ]

    def detect(
        self,
        moments: Sequence[Moment],
        clock: Stopwatch | None = None,
    ) -> Detection:
        """Boxes and depth from the cameras of all moments, newest first.

        Moments that are not there are the key frame again.

        Raises:
            DataError: there is no moment, or one has no camera.
        """
        if not moments or not all(moments):
            raise DataError("nothing to detect in: no camera gave an image")
        clock = clock or Stopwatch()
        num_frames = self.description.num_frames
        moments = moments[:num_frames]
        if self.backend.looks_around:
            with clock.stage("looking around"):
                again = [moments[0]] * (num_frames - len(moments))
                moments = self.backend.look_around([*moments, *again])
        with clock.stage("pooling"):
            bevs = [self._splat(moment) for moment in moments]
            bevs += [bevs[0]] * (num_frames - len(bevs))
        with clock.stage("BEV part"):
            maps = self.backend.head_maps(bevs)
        with clock.stage("boxes"):
            boxes = decode(maps, self.description)
        maps_of_key = {camera.name: camera.features.depth_map for camera, _ in moments[0]}
        return Detection(boxes, maps_of_key)

    def _splat(self, moment: Moment) -> Any:
        return self.backend.splat(
            [camera.features for camera, _ in moment],
            np.stack([camera.intrinsics for camera, _ in moment]),
            np.stack([pose for _, pose in moment]),
            np.stack([camera.image_aug for camera, _ in moment]),
        )


class Stopwatch:
    """Wall time by stage, milliseconds; the times of one stage add up."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = 1e3 * (time.perf_counter() - start)
            self.milliseconds[name] = self.milliseconds.get(name, 0.0) + spent
