"""From a batch as mmengine hands it over to images and cameras, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmdet3d.structures import Det3DDataSample
from torch import Tensor

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import CameraRig


def images_and_rig(
    inputs: Mapping[str, Tensor],
    samples: Sequence[Det3DDataSample],
    image_size: tuple[int, ...],  # H, W
    num_frames: int,
) -> tuple[Tensor, CameraRig]:
    """Images ``[B, S, N, 3, H, W]`` and their cameras, on the images' device.

    Raises:
        DataError: images are not of the model's size, or samples hold fewer frames than it uses.
    """
    images = inputs["img"]  # [B, S * N, 3, H, W]
    rig = CameraRig.from_metainfo([sample.metainfo for sample in samples], images.device)
    if tuple(images.shape[-2:]) != image_size:
        raise DataError(
            f"images are {tuple(images.shape[-2:])}, the model's image_size is {image_size}; "
            "ImageAugmentation.final_dim must be the same"
        )
    if rig.num_moments < num_frames:
        raise DataError(
            f"samples hold {rig.num_moments} frames, the model uses {num_frames} "
            "(model.temporal.num_frames); set the dataset's num_frames to as many"
        )
    return images.unflatten(1, (rig.num_moments, rig.num_cameras)), rig
