"""Packages of optional extras: imported when they are needed, missed in one line."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bevdepth_plus.errors import DataError


def require_package(name: str, extra: str) -> Any:
    """The module of that name.

    Raises:
        DataError: it is not installed, or does not load.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        raise DataError(
            f"the package {missing} is not installed: pip install 'bevdepth_plus[{extra}]'"
        ) from None
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"the package {name} does not load: {reason:.200}") from None
