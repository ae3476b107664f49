"""Cameras that drop out, by name: what a detector is worth when one of its cameras fails."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.transforms import BaseTransform
from mmdet3d.registry import TRANSFORMS

from bevdepth_plus.errors import DataError


@TRANSFORMS.register_module()
class DropCameras(BaseTransform):
    """Marks cameras as out in all frames (``camera_mask``).

    It stands anywhere before ``PackBEVInputs``, and before ``DropUncoveredBoxes`` if that is used.

    The image of such a camera still has its place in the batch, but nothing of it reaches the BEV
    map, and it has no depth labels: the boxes are those of a rig without the camera.

    Args:
        names: The cameras.
    """

    def __init__(self, names: Sequence[str]) -> None:
        if isinstance(names, str):
            raise ValueError(f"names must be a list of cameras, got the string {names!r}")
        self.names = tuple(names)

    def transform(self, results: dict) -> dict:
        cameras = list(results["cam_names"])
        for name in self.names:
            if name not in cameras:
                raise DataError(
                    f"DropCameras: there is no camera {name}; names must be of {', '.join(cameras)}"
                )
        mask = results["camera_mask"].copy()
        mask[:, [cameras.index(name) for name in self.names]] = False
        return {**results, "camera_mask": mask}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(names={self.names})"
