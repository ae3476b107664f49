"""Where each pixel of a past image is seen again in the next one, by optical flow."""

from __future__ import annotations

from os import path as osp

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS
from torch import Tensor

from bevdepth_plus.datasets.correspondence_checks import (
    CorrespondenceChecks,
    MatchedImages,
    Reason,
)
from bevdepth_plus.datasets.transforms.flow_files import FlowSettings, load_flow
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.pinhole import in_image, inverse_intrinsics, transform_pixels
from bevdepth_plus.geometry.rigid import invert_rigid
from bevdepth_plus.geometry.warping import own_pixels, sample_bilinear


@TRANSFORMS.register_module()
class LoadOpticalFlow(BaseTransform):
    """Correspondences between neighbouring frames of each camera, from the older to the newer.

    It stands behind ``ImageAugmentation`` and needs ``num_frames`` of 2 or more. Flow is computed
    once, on the images as loaded, by OpenCV's DIS in both directions, and kept in
    ``ROOT/FOLDER/CAMERA`` for images ``ROOT/samples/CAMERA/NAME.jpg``, and in ``FOLDER`` beside
    images that lie otherwise; the augmentation is applied to what is read from there, so all epochs
    share the files.

    Adds, for the S - 1 pairs (s + 1 -> s) of moments, 0 being the key frame:

    - ``correspondence``: float32 ``[S - 1, N, 2, h, w]``: for the centre of each cell of ``stride``
      network pixels of frame s + 1, the network pixel (u, v) of frame s where it is seen again.
      Divided by ``stride`` it is in cells. Finite everywhere.
    - ``correspondence_reason``: uint8 ``[S - 1, N, h, w]``, see ``Reason``; 0 is kept.

    ``PackBEVInputs`` hands on ``correspondence`` and ``correspondence_valid`` (bool). A scene's
    first frame has no past: nothing of it is valid.

    Args:
        stride: Network pixels a cell; that of the depth maps to be compared.
        folder: Folder of the flow files below the data root, or an absolute path.
        preset, max_width: See ``FlowSettings``.
        border, min_contrast, min_sharpness, static_only, max_residual, max_depth: What is left out,
            see ``CorrespondenceChecks``.
    """

    def __init__(
        self,
        stride: int,
        folder: str = "optical_flow",
        preset: str = "medium",
        max_width: int = 800,
        border: int = 8,
        min_contrast: float = 3.0,
        min_sharpness: float = 0.1,
        static_only: bool = True,
        max_residual: float = 2.0,
        max_depth: float = 60.0,
    ) -> None:
        if stride < 1:
            raise ValueError(f"stride must be 1 pixel or more, got {stride}")
        self.stride = stride
        self.folder = folder
        self.settings = FlowSettings(preset, max_width)
        self.checks = CorrespondenceChecks(
            border, min_contrast, min_sharpness, static_only, max_residual, max_depth
        )

    def transform(self, results: dict) -> dict:
        moments, cameras = results["image_aug"].shape[:2]
        if moments < 2:
            raise DataError(
                "LoadOpticalFlow needs a past frame: set num_frames of the data set to 2 or more, "
                f"got {moments}"
            )
        pairs = [
            [self._pair(results, moment, camera) for camera in range(cameras)]
            for moment in range(moments - 1)
        ]
        return {
            **results,
            "correspondence": np.stack([[there for there, _ in row] for row in pairs]),
            "correspondence_reason": np.stack([[why for _, why in row] for row in pairs]),
        }

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(stride={self.stride}, folder={self.folder!r}, "
            f"{self.settings}, {self.checks})"
        )

    def _pair(self, results: dict, moment: int, camera: int) -> tuple[np.ndarray, np.ndarray]:
        """Correspondences ``[2, h, w]`` from frame ``moment + 1`` to ``moment``, and reasons."""
        older, newer = ((step, camera) for step in (moment + 1, moment))
        cameras = results["image_aug"].shape[1]
        paths = [results["img_path"][step * cameras + camera] for step in (older[0], newer[0])]
        images = [results["img"][step * cameras + camera] for step in (older[0], newer[0])]
        pixels = own_pixels(images[0].shape[:2], self.stride)
        if not results["frame_mask"][older[0]]:
            none = np.full(pixels.shape[-2:], int(Reason.NO_PAST), dtype=np.uint8)
            return pixels[0].numpy(), none
        flow = load_flow(*paths, self._folder(paths[1]), self.settings)
        to_older, to_newer = (_matrix(results["image_aug"][at]) for at in (older, newer))
        shapes = [results["raw_shape"][step * cameras + camera] for step in (older[0], newer[0])]
        raw_older = _map(inverse_intrinsics(to_older), pixels)
        raw_newer = _follow(flow.forward, raw_older, shapes[0])
        raw_back = _follow(flow.backward, raw_newer, shapes[1])
        pair = MatchedImages(
            *(_grey(image) for image in images),
            pixels=pixels,
            there=_map(to_newer, raw_newer),
            back=_map(to_older, raw_back),
            shown=_shows(shapes[0], raw_older) & _shows(shapes[1], raw_newer),
            intrinsics_t=to_older @ _matrix(results["intrinsics"][older]),
            intrinsics_t1=to_newer @ _matrix(results["intrinsics"][newer]),
            t1_T_t=invert_rigid(_matrix(results["ego_T_cam"][newer]))
            @ _matrix(results["ego_T_cam"][older]),
        )
        return pair.there[0].float().numpy(), self.checks.reasons(pair)

    def _folder(self, image: str) -> str:
        samples, camera = osp.split(osp.dirname(image))
        if osp.basename(samples) not in ("samples", "sweeps"):  # not nuScenes' folders
            return osp.join(osp.dirname(image), self.folder)
        return osp.join(osp.dirname(samples), self.folder, camera)


def _follow(
    displacement: np.ndarray,  # [2, h, w], pixels as loaded, of cells that tile the image
    pixels: Tensor,  # [1, 2, h', w'], pixels as loaded
    shape: tuple[int, int],  # height, width of the image as loaded
) -> Tensor:
    """Where the pixels are in the other image, ``[1, 2, h', w']``; outside they stay."""
    cells = torch.from_numpy(displacement)[None]
    scale = pixels.new_tensor([cells.shape[-1] / shape[1], cells.shape[-2] / shape[0]])
    step, _ = sample_bilinear(cells, pixels * scale[:, None, None])
    return pixels + step


def _map(a_T_b: Tensor, pixels: Tensor) -> Tensor:
    """:func:`transform_pixels` of a map ``[1, 2, h, w]`` of pixels."""
    moved = transform_pixels(a_T_b, pixels.flatten(2).transpose(1, 2).to(a_T_b))
    return moved.transpose(1, 2).reshape(pixels.shape)


def _shows(shape: tuple[int, int], pixels: Tensor) -> Tensor:
    return in_image(pixels.movedim(1, -1), tuple(shape))[:, None]


def _matrix(matrix: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(matrix, dtype=np.float64))[None]


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float32)
