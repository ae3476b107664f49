"""Reading feather files, Argoverse 2's tables and sweeps; pyarrow is needed here alone."""

from __future__ import annotations

from collections.abc import Sequence
from os import path as osp
from pathlib import Path

import numpy as np

from bevdepth_plus.errors import DataError

INSTALL = 'pip install -e ".[argoverse2]"'


def read_columns(path: str | Path, columns: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of a feather file by name, each ``[rows]`` in the file's own type.

    Raises:
        DataError: pyarrow is not installed, or the file is missing, damaged or lacks a column.
    """
    try:
        import pyarrow
        from pyarrow import feather
    except ImportError as error:
        raise DataError(f"{path} needs pyarrow ({error}); install it: {INSTALL}") from None
    if not osp.isfile(path):
        raise DataError(f"{path} does not exist; complete the download")
    try:
        table = feather.read_table(str(path), memory_map=False)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path} is no whole feather file ({reason}); fetch it again") from None
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DataError(
            f"{path} lacks the column {', '.join(missing)} (it has "
            f"{', '.join(table.column_names)}); fetch the Argoverse 2 sensor data set's own file"
        )
    return {name: table.column(name).to_numpy() for name in columns}
