"""What every runtime of exported graphs shares: checks, joining of the parts, caching.

numpy alone. A runtime adds how a file becomes a :class:`Graph`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bevdepth_plus.deploy.description import ModelDescription, check_files, read_description
from bevdepth_plus.deploy.features import ImageFeatures, Moment
from bevdepth_plus.deploy.gather_index import gather_index
from bevdepth_plus.deploy.geometry import frustum_cells, pixel_to_grid
from bevdepth_plus.errors import DataError

Array = NDArray[Any]
CALIBRATION = ("intrinsics", "ego_T_cam", "image_aug")
_SIZES = {"intrinsics": (3, 3), "ego_T_cam": (4, 4), "image_aug": (3, 3)}


class Graph(Protocol):
    """A loaded ONNX file."""

    @property
    def inputs(self) -> Sequence[str]:
        """Names."""
        ...

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name."""
        ...


class GraphBackend:
    """An exported model in one of the runtimes: the three functions of the model.

    N cameras, any subset of a rig; C channels, D depth bins, S moments. ``ego_T_cam`` of
    ``image_part`` is the rig's own; that of past moments, which contains the vehicle's motion
    since, goes into the pooling through ``pixel_to_grid``.

    Args:
        folder: what ``tools/export_onnx.py`` wrote. Files are held against their checksums.
        forms: that the runtime can load.

    Raises:
        DataError: a file is missing, damaged, or of a form that the runtime cannot load.
    """

    looks_around = False

    def __init__(self, folder: str | Path, forms: Sequence[str]) -> None:
        self.folder = Path(folder)
        self.description: ModelDescription = read_description(self.folder)
        if self.description.form not in forms:
            raise DataError(
                f"{self.folder} was exported as {self.description.form!r}, this backend runs "
                f"{' and '.join(forms)}; export it with --form {forms[-1]}"
            )
        check_files(self.description, self.folder)
        names = [file.name for file in self.description.files]
        self._graphs = {
            name.removesuffix(".onnx"): self._load(self.folder / name)
            for name in names
            if name.endswith(".onnx")
        }
        self._calibrated: tuple[bytes, dict[str, Array]] = (b"", {})
        self._indexed: tuple[bytes, dict[str, Array]] = (b"", {})

    def _load(self, path: Path) -> Graph:
        raise NotImplementedError

    def image_part(
        self,
        images: Array,  # [N, 3, H, W], uint8, RGB
        intrinsics: Array,  # [N, 3, 3], pixels as loaded
        ego_T_cam: Array,  # [N, 4, 4]
        image_aug: Array,  # [N, 3, 3], pixels as loaded -> network pixels
    ) -> tuple[Array, Array, Array]:
        """``depth [N, D, h, w]``, ``context [N, C, h, w]`` and ``depth_map [N, h, w]`` in metres.

        What follows from the calibration alone is computed once and kept until it changes.

        Raises:
            DataError: images or matrices are not of this model, or their numbers differ.
        """
        self._require_parts("image_part")
        values = self._checked(images, intrinsics, ego_T_cam, image_aug, axes=())
        if "cameras" in self._graphs:
            key = b"".join(values[name].tobytes() for name in CALIBRATION)
            if key != self._calibrated[0]:
                self._calibrated = key, self._run("cameras", values)
            values = values | self._calibrated[1]
        values = values | self._run("image", values)
        found = self._run("depth", values)
        return found["depth"], found["context"], found["depth_map"]

    def pool(
        self,
        depth: Array,  # [N, D, h, w]
        context: Array,  # [N, C, h, w]
        pixel_to_grid: Array,  # [N, 3, 4], see geometry.pixel_to_grid
    ) -> Array:
        """One moment's BEV map ``[1, C, Y, X]``, always in float32."""
        self._require_parts("pool")
        matrix = np.ascontiguousarray(pixel_to_grid, np.float32)
        if matrix.shape != (len(depth), 3, 4):
            raise DataError(
                f"pixel_to_grid must be [{len(depth)}, 3, 4] for {len(depth)} cameras, "
                f"got {list(matrix.shape)}"
            )
        feeds = {"depth": depth, "context": context, "pixel_to_grid": matrix}
        if self.description.form == "gather":
            feeds |= self._gather_index(matrix)
        return self._run("pool", feeds)["bev"]

    def bev_part(
        self,
        bevs: Array,  # [1, S * C, Y, X], newest moment first
    ) -> dict[str, Array]:
        """The heads' maps by name, ``[1, C', Y, X]`` each.

        Raises:
            DataError: there are not S maps of the model's channels and grid.
        """
        self._require_parts("bev_part")
        model = self.description
        expected = (1, model.num_frames * model.context_channels, *model.grid.bev_size)
        if bevs.shape != expected:
            raise DataError(
                f"bevs must be {list(expected)} ({model.num_frames} moments beside each other), "
                f"got {list(bevs.shape)}"
            )
        return self._run("bev", {"bevs": bevs})

    def perceive(
        self, images: Array, intrinsics: Array, ego_T_cam: Array, image_aug: Array
    ) -> list[ImageFeatures]:
        """:meth:`image_part`, camera by camera: a step of the inferencer."""
        parts = self.image_part(images, intrinsics, ego_T_cam, image_aug)
        return [
            ImageFeatures(depth[None], context[None], depth_map)
            for depth, context, depth_map in zip(*parts, strict=True)
        ]

    def look_around(self, moments: Sequence[Moment]) -> list[Moment]:
        """The same: what is exported looks at each image by itself."""
        return list(moments)

    def splat(
        self,
        features: Sequence[ImageFeatures],
        intrinsics: Array,  # [N, 3, 3]
        ego_T_cam: Array,  # [N, 4, 4], into the key frame's ego
        image_aug: Array,  # [N, 3, 3]
    ) -> Array:
        """One moment's BEV map: a step of the inferencer."""
        depth, context = (
            np.concatenate([getattr(each, name) for each in features])
            for name in ("depth", "context")
        )
        to_grid = pixel_to_grid(intrinsics, ego_T_cam, image_aug, self.description.grid)
        return self.pool(depth, context, to_grid)

    def head_maps(self, bevs: Sequence[Array]) -> dict[str, Array]:
        """The heads' maps ``[C, Y, X]``: a step of the inferencer."""
        maps = self.bev_part(np.concatenate(list(bevs), axis=1))
        return {name: values[0] for name, values in maps.items()}

    def maps(
        self,
        images: Array,  # [S, N, 3, H, W], uint8, RGB; key frame first
        intrinsics: Array,  # [S, N, 3, 3]
        ego_T_cam: Array,  # [S, N, 4, 4], into the key frame's ego
        image_aug: Array,  # [S, N, 3, 3]
        mask: Array | None = None,  # [S, N], False where a camera gave no image
    ) -> tuple[dict[str, Array], Array]:
        """The heads' maps by name, and the key frame's depth map ``[N, h, w]``: any form.

        Raises:
            DataError: see :meth:`image_part`; or there are not S moments.
        """
        model = self.description
        if images.ndim != 5 or len(images) != model.num_frames:
            raise DataError(
                f"images must be [S, N, 3, H, W] of {model.num_frames} moments, got "
                f"{list(images.shape)}"
            )
        values = self._checked(images, intrinsics, ego_T_cam, image_aug, axes=(model.num_frames,))
        to_grid = pixel_to_grid(
            values["intrinsics"], values["ego_T_cam"], values["image_aug"], model.grid
        )
        if mask is not None:
            to_grid = np.where(np.asarray(mask)[..., None, None], to_grid, np.float32(np.nan))
        if model.form == "one":
            found = self._run("model", values | {"pixel_to_grid": to_grid})
            return {name: found[name] for name in model.outputs}, found["depth_map"]
        bevs, depth_maps = [], []
        for moment in range(model.num_frames):
            depth, context, depth_map = self.image_part(
                values["images"][moment],
                values["intrinsics"][moment],
                values["ego_T_cam"][0],
                values["image_aug"][moment],
            )
            bevs.append(self.pool(depth, context, to_grid[moment]))
            depth_maps.append(depth_map)
        return self.bev_part(np.concatenate(bevs, axis=1)), depth_maps[0]

    def _checked(
        self,
        images: Array,
        intrinsics: Array,
        ego_T_cam: Array,
        image_aug: Array,
        axes: tuple[int, ...],  # before N
    ) -> dict[str, Array]:
        """The inputs by name, contiguous."""
        images = np.asarray(images)
        model, depth = self.description, len(axes)
        wanted = (3, *model.image_size)
        if images.ndim != depth + 4 or images.shape[depth + 1 :] != wanted:
            raise DataError(
                f"images must be {[*axes, 'N', *wanted]}, got {list(images.shape)}; the model was "
                f"exported for images of {model.image_size[0]} x {model.image_size[1]} pixels"
            )
        if images.dtype != np.uint8:
            raise DataError(
                f"images must be uint8 RGB, got {images.dtype}; normalisation is inside the graph"
            )
        count = images.shape[depth]
        fewest, most = model.camera_range
        if not fewest <= count <= most:
            raise DataError(f"the model takes {fewest} to {most} cameras, got {count}")
        values = {"images": np.ascontiguousarray(images)}
        for name, matrix in zip(CALIBRATION, (intrinsics, ego_T_cam, image_aug), strict=True):
            values[name] = np.ascontiguousarray(matrix, np.float32)
            shape = (*axes, count, *_SIZES[name])
            if values[name].shape != shape:
                raise DataError(
                    f"{name} must be {list(shape)} for {count} images, got "
                    f"{list(values[name].shape)}"
                )
        return values

    def _gather_index(self, matrix: Array) -> dict[str, Array]:
        key = matrix.tobytes()
        if key != self._indexed[0]:
            model = self.description
            cells = frustum_cells(matrix, model.frustum, model.grid)
            rows, columns = model.grid.bev_size
            self._indexed = key, dict(gather_index(cells, rows * columns))
        return self._indexed[1]

    def _run(self, name: str, values: Mapping[str, Array]) -> dict[str, Array]:
        graph = self._graphs[name]
        return graph({value: values[value] for value in graph.inputs})

    def _require_parts(self, function: str) -> None:
        if self.description.form == "one":
            raise DataError(
                f"{self.folder} is one graph, {function} needs the parts; export it with "
                "--form parts"
            )
