"""Reading one field of an info file: the right type, shape and finite numbers, or one line.

Every function takes ``where``, the field's place as an error names it, such as
``sample 1a2b: images.CAM_FRONT.cam2img``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bevdepth_plus.errors import DataError

CALIBRATION_HINT = "repair the calibration and make the info file anew"
# Infos written by mmdet3d hold float32 matrices; a real calibration is far inside this, a
# forgotten transpose or a scaled matrix far outside.
ORTHONORMAL_TOLERANCE = 1e-2


def short(value: object) -> str:
    """A value as an error shows it: one line, at most 40 characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def mapping(value: Any, where: str, keys: Sequence[str] = ()) -> Mapping:
    """A dict that has ``keys``."""
    if not isinstance(value, Mapping):
        raise DataError(f"{where} must be a dict, got {short(value)}; make the info file anew")
    missing = [key for key in keys if key not in value]
    if missing:
        raise DataError(
            f"{where} lacks {', '.join(missing)}; make the info file with tools/create_data.py"
        )
    return value


def text(value: Any, where: str) -> str:
    """A string that is not empty."""
    if not isinstance(value, str) or not value:
        raise DataError(f"{where} must be a text, got {short(value)}; make the info file anew")
    return value


def number(value: Any, where: str) -> float:
    """One finite number."""
    return float(numbers(value, where, (), "correct it and make the info file anew"))


def numbers(
    value: Any, where: str, shape: tuple[int, ...] | None = None, remedy: str = CALIBRATION_HINT
) -> np.ndarray:
    """Finite numbers as float64, of ``shape`` if it is given."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise DataError(f"{where} must be a regular array of numbers; {remedy}") from None
    if array.dtype.kind not in "iuf":
        raise DataError(f"{where} must be numbers, got {short(value)}; {remedy}")
    if shape is not None and array.shape != shape:
        raise DataError(f"{where} must be {shape}, got {array.shape}; {remedy}")
    array = array.astype(np.float64)
    if not np.isfinite(array).all():
        raise DataError(f"{where} is not finite; {remedy}")
    return array


def rigid_matrices(matrices: Sequence, where: Sequence[str]) -> np.ndarray:
    """Stacks 4x4 rigid transforms and checks them.

    Args:
        matrices: K nested lists or arrays, each 4x4.
        where: What to call each of them in an error.

    Returns:
        [K, 4, 4] float64.

    Raises:
        DataError: If one has another shape, is not finite or its rotation is not one.
    """
    stack = _stack(matrices, where, (4, 4))
    rotations = stack[:, :3, :3]
    off = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    determinants = np.linalg.det(rotations)
    off_last_row = np.abs(stack[:, 3] - [0, 0, 0, 1]).max(axis=1)
    bad = (off > ORTHONORMAL_TOLERANCE) | (determinants < 0) | (off_last_row > 1e-6)
    for index in np.flatnonzero(bad):
        raise DataError(
            f"{where[index]} is not a rigid transform (det R = {determinants[index]:.4g}, expected "
            f"1; last row {stack[index, 3].tolist()}); {CALIBRATION_HINT}"
        )
    return stack


def intrinsic_matrices(matrices: Sequence, where: Sequence[str]) -> np.ndarray:
    """Stacks 3x3 pinhole matrices and checks them.

    Returns:
        [K, 3, 3] float64.

    Raises:
        DataError: If one has another shape, is not finite, is no pinhole matrix (last row 0 0 1,
            nothing below the diagonal) or has a focal length <= 0.
    """
    stack = _stack(matrices, where, (3, 3))
    focal = stack[:, [0, 1], [0, 1]]
    for index in np.flatnonzero((focal <= 0).any(axis=1)):
        raise DataError(
            f"{where[index]} cannot be inverted or has a focal length <= 0 (fx, fy = "
            f"{focal[index].tolist()}); {CALIBRATION_HINT}"
        )
    below = np.abs(stack[:, [1, 2, 2, 2], [0, 0, 1, 2]] - [0, 0, 0, 1]).max(axis=1)
    for index in np.flatnonzero(below > 1e-6):
        raise DataError(
            f"{where[index]} is no pinhole matrix [[fx, s, cx], [0, fy, cy], [0, 0, 1]]: "
            f"{np.round(stack[index], 4).tolist()}; {CALIBRATION_HINT}"
        )
    return stack


def _stack(matrices: Sequence, where: Sequence[str], shape: tuple[int, int]) -> np.ndarray:
    arrays = [numbers(m, place, shape) for m, place in zip(matrices, where, strict=True)]
    return np.asarray(arrays, dtype=np.float64).reshape(-1, *shape)
