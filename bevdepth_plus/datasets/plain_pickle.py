"""Pickles from strangers: plain containers, numbers and numpy arrays, nothing that runs code."""

from __future__ import annotations

import _codecs
import collections
import gc
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bevdepth_plus.errors import DataError

# What a pickle may name. Dicts, lists, tuples, strings and numbers need no name at all.
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "bytearray"): bytearray,
    ("_codecs", "encode"): _codecs.encode,  # bytes in old protocols
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
# numpy moved these from numpy.core to numpy._core in version 2.
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = np.core.multiarray._reconstruct
    _ALLOWED[f"{_core}.multiarray", "scalar"] = np.core.multiarray.scalar
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = np.core.numeric._frombuffer


def read_pickle(path: str | Path, kind: str = "info file", remedy: str = "fetch it again") -> Any:
    """Reads a pickle of plain containers, numbers, strings and numpy arrays.

    Args:
        path: The file.
        kind: What messages call it.
        remedy: What messages tell to do.

    Raises:
        DataError: The file is missing, damaged, or names any other class or function; such a file
            could run code, and nothing of it is run.
    """
    try:
        with Path(path).open("rb") as file, collector_paused():
            return _PlainUnpickler(file).load()
    except (FileNotFoundError, IsADirectoryError):
        raise DataError(f"{kind} {path} does not exist; {remedy}") from None
    except PermissionError:
        raise DataError(f"{kind} {path} may not be read; change its permissions") from None
    except _ForbiddenError as forbidden:
        raise DataError(
            f"{kind} {path} asks for {forbidden}, which could run code; only plain containers, "
            f"numbers, strings and numpy arrays are read. Do not trust the file; {remedy}"
        ) from None
    except Exception as error:  # a damaged stream fails in many ways
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{kind} {path} cannot be unpickled ({reason}); {remedy}") from None


@contextmanager
def collector_paused() -> Iterator[None]:
    """Switches Python's garbage collector off for a while.

    An info file is millions of objects without cycles, and each new one makes the collector scan
    the earlier ones again: 14,000 samples take 6 to 9 s to read with it and 1 s without.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _ForbiddenError(Exception):
    """A pickle names something that is not allowed."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _ForbiddenError(f"{module}.{name}") from None

    def persistent_load(self, pid: object) -> Any:
        raise _ForbiddenError("an object outside the file")
