"""Reading YAML fields of a calibration: the right type and finite, or one line that names them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bevdepth_plus.errors import DataError

PIXELS = (16, 8192)  # least and most of an image's width and height


def read_yaml(path: Path, kind: str) -> Any:
    """What a YAML or JSON file holds: plain data, no code.

    Args:
        path: the file.
        kind: what errors call it.

    Raises:
        DataError: it cannot be read or is no YAML.
    """
    documents = read_yaml_documents(path, kind)
    return documents[0] if len(documents) == 1 else documents


def read_yaml_documents(path: Path, kind: str) -> list[Any]:
    """As :func:`read_yaml`, for files of several parts between lines of ``---``."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot read the {kind} ({error})") from None
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise DataError(f"{path}: not valid YAML ({problem})") from None
    if len(documents) > 1:  # a `---` at the end opens an empty part
        documents = [document for document in documents if document is not None]
    return documents or [None]


class Fields:
    """The fields of one mapping of a file.

    Args:
        path: the file.
        where: the mapping's place in it.
        entry: the mapping.

    Raises:
        DataError: ``entry`` is none.
    """

    def __init__(self, path: Path, where: str, entry: Any) -> None:
        self.path, self.where = path, where
        if not isinstance(entry, dict):
            raise DataError(f"{path}: {where}: expected a mapping, got {type(entry).__name__}")
        self.entry: dict[Any, Any] = entry

    def fail(self, key: str, problem: str) -> DataError:
        """The error that names file and field."""
        return DataError(f"{self.path}: {self.where}.{key}: {problem}")

    def known(self, allowed: set[str]) -> None:
        """Refuses fields that are not in ``allowed``."""
        unknown = sorted(map(str, set(self.entry) - allowed))
        if unknown:
            raise DataError(
                f"{self.path}: {self.where}: unknown field {unknown[0]!r}, known are "
                f"{sorted(allowed)}"
            )

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number."""
        return self._number(key, self.entry.get(key, default))

    def numbers(self, key: str, count: int, default: Sequence[float] | None = None) -> np.ndarray:
        """``count`` finite numbers, float64."""
        value = self.entry.get(key, default)
        if not isinstance(value, list | tuple) or len(value) != count:
            raise self.fail(key, f"expected {count} numbers, got {value!r}")
        return np.array([self._number(key, item) for item in value])

    def list_of_numbers(self, key: str) -> list[float]:
        """Finite numbers, as many as there are."""
        value = self.entry.get(key)
        if not isinstance(value, list):
            raise self.fail(key, f"expected a list of numbers, got {value!r}")
        return [self._number(key, item) for item in value]

    def matrix(self, key: str, shapes: Sequence[tuple[int, int]]) -> np.ndarray:
        """Rows of finite numbers, of one of the shapes."""
        value = self.entry.get(key)
        expected = " or ".join(f"{rows}x{columns}" for rows, columns in shapes)
        if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
            raise self.fail(key, f"expected the rows of a {expected} matrix, got {value!r}")
        if (len(value), *{len(row) for row in value}) not in shapes:
            raise self.fail(key, f"expected {expected} numbers, got {value!r}")
        return np.array([[self._number(key, item) for item in row] for row in value])

    def quaternion(self, key: str) -> tuple[float, float, float, float]:
        """Four numbers of about unit length, in the file's order."""
        a, b, c, d = self.numbers(key, 4).tolist()
        norm = math.sqrt(a * a + b * b + c * c + d * d)
        if abs(norm - 1) > 1e-2:
            raise self.fail(key, f"expected unit length, got {norm:.3f}")
        return a, b, c, d

    def pixels(self, key: str) -> int:
        """An image's width or height."""
        value = self.number(key)
        least, most = PIXELS
        if value != int(value) or not least <= value <= most:
            raise self.fail(key, f"expected {least} to {most} whole pixels, got {value}")
        return int(value)

    def text(self, key: str) -> str:
        """A text that is not empty."""
        value = self.entry.get(key)
        if not isinstance(value, str) or not value:
            raise self.fail(key, f"expected a text, got {value!r}")
        return value

    def _number(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise self.fail(key, f"expected a finite number, got {value!r}")
        return float(value)
