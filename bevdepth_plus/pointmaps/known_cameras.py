"""Read what is known of cameras from JSON files, by the name of the image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import compose_pixels
from bevdepth_plus.pointmaps.images import LoadedImage
from bevdepth_plus.pointmaps.scene_parameters import Known

_MAX_ASPECT = 0.02


def read_known(
    images: Sequence[LoadedImage], rig: Path | None = None, poses: Path | None = None
) -> Known:
    """Poses and intrinsics of the images that the files name; of others nothing is known.

    Args:
        rig: ``{"a.jpg": {"intrinsics": [[fx, 0, cx], ...], "focal_sigma": 0}}``, of the upright
            file's pixels; ``focal_sigma`` is relative, 0 (the default) is exact.
        poses: ``{"a.jpg": {"world_T_cam": [[...], ...], "centre_sigma": 0, "rotation_sigma": 0}}``,
            metres and radians; the default 0 is exact.

    Raises:
        DataError: a file is missing or not of this form; the line names file, image and field.
    """
    names = [image.name for image in images]
    said: dict = {}
    if rig is not None:
        rows = _rows(rig, names)
        intrinsics = torch.eye(3).repeat(len(images), 1, 1)
        for i, row in rows.items():
            intrinsics[i] = _in_network_pixels(
                _matrix(rig, names[i], row, "intrinsics", 3), images[i], rig
            )
        said.update(intrinsics=intrinsics, focal_sigma=_sigmas(rig, rows, names, "focal_sigma"))
    if poses is not None:
        rows = _rows(poses, names)
        world_T_cam = torch.eye(4).repeat(len(images), 1, 1)
        for i, row in rows.items():
            world_T_cam[i] = _matrix(poses, names[i], row, "world_T_cam", 4)
        sigmas = {
            key: _sigmas(poses, rows, names, key) for key in ("centre_sigma", "rotation_sigma")
        }
        said.update(world_T_cam=world_T_cam, **sigmas)
    try:
        return Known(**said).checked(len(images))
    except ValueError as error:
        raise DataError(f"{poses or rig}: {error}") from None


def _rows(path: Path, names: Sequence[str]) -> dict[int, dict]:
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise DataError(f'{path} must be {{"IMAGE NAME": {{"field": value}}}}')
    rows = {i: content[name] for i, name in enumerate(names) if name in content}
    if not rows:
        raise DataError(f"{path} names none of the images, the first of which is {names[0]!r}")
    return rows


def _matrix(path: Path, name: str, row: dict, field: str, side: int) -> Tensor:
    try:
        matrix = torch.tensor(row[field], dtype=torch.float32)
    except (KeyError, TypeError, ValueError):
        matrix = torch.zeros(0)
    if matrix.shape != (side, side) or not matrix.isfinite().all():
        raise DataError(f"{path}: {name}: {field} must be a {side} x {side} matrix of numbers")
    return matrix


def _sigmas(path: Path, rows: dict[int, dict], names: Sequence[str], field: str) -> Tensor:
    sigmas = torch.full((len(names),), torch.inf)
    for i, row in rows.items():
        value = row.get(field, 0)
        if not isinstance(value, (int, float)) or not value >= 0:
            raise DataError(f"{path}: {names[i]}: {field} must be a number >= 0, got {value!r}")
        sigmas[i] = value
    return sigmas


def _in_network_pixels(intrinsics: Tensor, image: LoadedImage, path: Path) -> Tensor:
    """The matrix of the network's image, with one focal length for both axes."""
    network = compose_pixels(image.image_aug, intrinsics)
    fx, fy = network[0, 0].item(), network[1, 1].item()
    if fx <= 0 or fy <= 0 or abs(fx / fy - 1) > _MAX_ASPECT or network[0, 1].abs() > 1e-3 * fx:
        raise DataError(
            f"{path}: {image.name}: intrinsics must have fx and fy within {_MAX_ASPECT:.0%} of "
            f"each other, both positive, and no skew; got fx {fx:g} and fy {fy:g} in network pixels"
        )
    focal = (fx * fy) ** 0.5
    network[0, 0] = network[1, 1] = focal
    return network
