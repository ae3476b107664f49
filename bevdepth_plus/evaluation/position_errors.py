"""Measured position errors by class and range: a table, its file, covariance matrices from it.

numpy alone is needed to read and use the table; ``evaluation/measure_positions.py`` makes it.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import write_json

FORMAT = "bevdepth_plus position errors, version 1"
ALL_CLASSES = "*"


@dataclass(frozen=True)
class PositionErrors:
    """Root mean square errors of matched boxes at one range, about 0: a bias is part of them.

    Attributes:
        near, far: ground distance from the ego origin, metres; near <= distance < far.
        count: matched boxes.
        along: of the gravity centre, in the direction from the ego origin, metres.
        across: on the ground, at a right angle to it, metres.
        height: metres.
        yaw: radians.
    """

    near: float
    far: float
    count: int
    along: float
    across: float
    height: float
    yaw: float


class CovarianceTable:
    """Position errors of each class, by range.

    Args:
        errors: class -> its ranges, which do not overlap. The entry ``*`` counts for classes that
            have none of their own.

    Raises:
        ValueError: a number is not finite or is negative, or ranges overlap.
    """

    def __init__(self, errors: Mapping[str, Sequence[PositionErrors]]) -> None:
        self.errors = {name: tuple(rows) for name, rows in errors.items()}
        for name, rows in self.errors.items():
            _check(name, rows)

    def at(self, name: str, distance: float) -> PositionErrors | None:
        """Errors of a class at a distance, metres; None where nothing was measured."""
        rows = self.errors.get(name, self.errors.get(ALL_CLASSES, ()))
        return next((row for row in rows if row.near <= distance < row.far), None)

    def covariance(
        self,
        name: str,
        centre: Sequence[float],  # x, y, ... in the ego frame, metres
    ) -> np.ndarray | None:
        """``[6, 6]`` of x, y, z, roll, pitch, yaw in the ego frame; None: nothing was measured.

        Roll and pitch are 0 by definition of the boxes, and so is their variance.
        """
        x, y = float(centre[0]), float(centre[1])
        errors = self.at(name, math.hypot(x, y))
        if errors is None:
            return None
        bearing = math.atan2(y, x)
        cos, sin = math.cos(bearing), math.sin(bearing)
        turned = np.array([[cos, -sin], [sin, cos]])
        covariance = np.zeros((6, 6))
        covariance[:2, :2] = turned @ np.diag([errors.along**2, errors.across**2]) @ turned.T
        covariance[2, 2], covariance[5, 5] = errors.height**2, errors.yaw**2
        return covariance

    def save(self, path: str | Path) -> None:
        """Writes the table as JSON."""
        table = {name: [asdict(row) for row in rows] for name, rows in self.errors.items()}
        write_json(path, {"format": FORMAT, "errors": table}, indent=2)

    @classmethod
    def load(cls, path: str | Path) -> CovarianceTable:
        """Reads what :meth:`save` writes.

        Raises:
            DataError: the file cannot be read, is no such table, or a number in it is wrong.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise DataError(f"{path}: cannot read the position errors ({error})") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(
                f"{path} is no table of position errors ({FORMAT!r}); "
                "tools/measure_positions.py makes one"
            )
        try:
            errors = {name: [_row(row) for row in rows] for name, rows in content["errors"].items()}
            return cls(errors)
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{path}: {error}; make it again") from None


def _row(row: Mapping[str, Any]) -> PositionErrors:
    names = [field.name for field in fields(PositionErrors)]
    if sorted(row) != sorted(names):
        raise ValueError(f"a range must have {', '.join(names)}, got {', '.join(row)}")
    return PositionErrors(**row)


def _check(name: str, rows: Sequence[PositionErrors]) -> None:
    for row in rows:
        values = np.array(list(asdict(row).values()), dtype=np.float64)
        if not np.isfinite(values).all() or (values < 0).any() or row.near >= row.far:
            raise ValueError(f"{name}: wrong numbers in {row}")
    ordered = sorted(rows, key=lambda row: row.near)
    for row, following in itertools.pairwise(ordered):
        if following.near < row.far:
            raise ValueError(
                f"{name}: the ranges {row.near} to {row.far} m and {following.near} to "
                f"{following.far} m overlap"
            )
