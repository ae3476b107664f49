"""Packages of optional extras: imported when they are needed, missed in one line."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from bevdepth_plus.errors import DataError


def require_package(name: str, extra: str, least: str = "") -> Any:
    """The module of that name.

    Args:
        name: of the module.
        extra: of bevdepth_plus that installs it.
        least: an attribute that it has from the oldest supported version on.

    Raises:
        DataError: it is not installed, does not load, or is too old.
    """
    install = f"pip install 'bevdepth_plus[{extra}]'"
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        raise DataError(f"the package {missing} is not installed: {install}") from None
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise DataError(f"the package {name} does not load: {reason:.200}; {install}") from None
    if least and not hasattr(module, least):
        raise DataError(f"the installed {name} is too old, it has no {least}: {install}")
    return module
