"""Write a reconstruction: cameras, depth, matches, and a point cloud to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import trimesh
from torch import Tensor

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write, write_json
from bevdepth_plus.geometry.pinhole import inverse_intrinsics, transform_pixels
from bevdepth_plus.pointmaps.images import LoadedImage
from bevdepth_plus.pointmaps.reconstruction import Reconstruction

# glTF looks along -z with y up; cameras here look along z with y down.
_GLTF_T_WORLD = np.diag([1.0, -1.0, -1.0, 1.0])


def write_reconstruction(
    found: Reconstruction,
    images: Sequence[LoadedImage],
    folder: Path,
    min_confidence: float = 1.5,
) -> list[Path]:
    """Write everything into a folder; each file is whole or absent.

    - ``cameras.json``: for each image ``intrinsics`` of its upright file and ``world_T_cam``;
    - ``depth/NAME.npz``: ``depth`` (0 = unknown), ``confidence``, and the ``intrinsics`` of these
      maps, at the network's size;
    - ``matches.npz``: for each pair ``NAME1|NAME2`` rows of (u1, v1, u2, v2, confidence), pixels of
      the upright files, centres at integers + 0.5;
    - ``points.ply`` and ``points.glb``: points above ``min_confidence``.

    Raises:
        DataError: no point is above ``min_confidence``, so that the cloud would be empty.
    """
    points, colours = coloured_points(found, images, min_confidence)
    if not len(points):
        raise DataError(
            f"no point has a confidence above {min_confidence:g}; lower it with --min-confidence"
        )
    scene = found.alignment.scene
    written = [folder / "cameras.json"]
    write_json(written[0], _cameras(found, images), indent=1)
    for i, image in enumerate(images):
        path = folder / "depth" / f"{Path(image.name).stem}.npz"
        arrays = dict(
            depth=found.depth[i], confidence=found.confidence[i], intrinsics=scene.intrinsics[i]
        )
        written.append(_write_npz(path, arrays))
    written.append(_write_npz(folder / "matches.npz", _matches(found, images)))
    written.append(write_cloud(folder / "points.ply", points, colours))
    written.append(write_cloud(folder / "points.glb", points, colours))
    return written


def coloured_points(
    found: Reconstruction, images: Sequence[LoadedImage], min_confidence: float
) -> tuple[Tensor, Tensor]:
    """World points ``[P, 3]`` and colours uint8 ``[P, 3]`` of all confident pixels."""
    points, colours = [], []
    for i, image in enumerate(images):
        kept = (found.depth[i] > 0) & (found.confidence[i] > min_confidence)
        points.append(found.points(i)[kept])
        colours.append(image.colours[kept])
    return torch.cat(points), torch.cat(colours)


def write_cloud(path: Path, points: Tensor, colours: Tensor) -> Path:
    """Write a ``.ply`` or ``.glb`` point cloud."""
    cloud = trimesh.PointCloud(points.cpu().double().numpy(), colors=colours.cpu().numpy())
    if path.suffix == ".glb":
        cloud.apply_transform(_GLTF_T_WORLD)
        content = trimesh.Scene([cloud]).export(file_type="glb")
    else:
        content = cloud.export(file_type="ply")
    with atomic_write(path) as file:
        file.write(content)
    return path


def _cameras(found: Reconstruction, images: Sequence[LoadedImage]) -> dict[str, dict]:
    scene = found.alignment.scene
    return {
        image.name: dict(
            intrinsics=(inverse_intrinsics(image.image_aug) @ scene.intrinsics[i].cpu()).tolist(),
            world_T_cam=scene.world_T_cam[i].tolist(),
            size=list(image.original_size),
        )
        for i, image in enumerate(images)
    }


def _matches(found: Reconstruction, images: Sequence[LoadedImage]) -> dict[str, Tensor]:
    rows = {}
    for (i, j), pair in found.matches.items():
        ends = [
            transform_pixels(inverse_intrinsics(images[k].image_aug), pixels.cpu() + 0.5)
            for k, pixels in ((i, pair.pixels1), (j, pair.pixels2))
        ]
        key = f"{images[i].name}|{images[j].name}"
        rows[key] = torch.cat([*ends, pair.confidence.cpu()[:, None]], dim=1)
    return rows


def _write_npz(path: Path, arrays: dict[str, Tensor]) -> Path:
    with atomic_write(path) as file:
        np.savez_compressed(file, **{key: value.cpu().numpy() for key, value in arrays.items()})
    return path
