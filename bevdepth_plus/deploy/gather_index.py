"""Index arrays of the gather form: pooling without scatter, for TensorRT.

Along one pixel's ray the bins that lie in one BEV cell follow each other, so their sum is the
difference of two prefix sums. A *run* is one cell in one image column (camera and feature column);
its features are a small matrix product over the column's rows. A cell adds its runs.

The arrays follow from the calibration alone, and are computed again when it changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BUCKETS = (1, 4, 16)  # runs of a cell, rounded up; cells with more have a bucket of their own


def gather_index(
    cells: NDArray[np.int32],  # [N, D, h, w], -1 outside the grid
    num_cells: int,  # Y * X
) -> dict[str, NDArray[np.int64]]:
    """The inputs of the gather form's pooling beside depth and context, by name.

    Returns:
        first_bin, last_bin: ``[N * w, K, h]``: the bins ``first <= d < last`` of a pixel lie in the
            cell of its column's run k; K runs in the column that has most.
        rows_1, rows_4, rows_16, rows_all: ``[M, 1 / 4 / 16 / L]``: the runs of each cell that has
            up to so many, as ``column * K + k``; filled up with ``N * w * K``.
        cell_rows: ``[Y * X]``: the row of each cell in these four lists, one after the other;
            one past the last row for a cell without runs.
    """
    cameras, bins, rows, columns = cells.shape
    points = cells.transpose(0, 3, 2, 1).reshape(cameras * columns, rows, bins)
    column, row, bin_ = np.nonzero(points >= 0)  # in this order
    cell = points[column, row, bin_].astype(np.int64)
    runs, run = np.unique(column * num_cells + cell, return_inverse=True)
    run_column, run_cell = np.divmod(runs, num_cells)
    start = np.searchsorted(run_column, np.arange(cameras * columns))
    slot = np.arange(len(runs)) - start[run_column]
    most = int(slot.max(initial=0)) + 1

    shape = (cameras * columns, most, rows)
    first, last = np.zeros((2, *shape), np.int64)
    # Each pixel's points in a run are consecutive bins, in order: the first and the last count.
    place = np.ravel_multi_index((column, slot[run], row), shape)
    last.reshape(-1)[place] = bin_ + 1
    first.reshape(-1)[place[::-1]] = bin_[::-1]
    lists = _rows_by_bucket(run_cell, run_column * most + slot, cameras * columns * most, num_cells)
    return {"first_bin": first, "last_bin": last, **lists}


def _rows_by_bucket(
    run_cell: NDArray[np.int64],  # [R]
    run_row: NDArray[np.int64],  # [R]
    none: int,
    num_cells: int,
) -> dict[str, NDArray[np.int64]]:
    order = np.argsort(run_cell, kind="stable")
    cells, start, counts = np.unique(run_cell[order], return_index=True, return_counts=True)
    sorted_rows = np.append(run_row[order], none)
    lists: dict[str, NDArray[np.int64]] = {}
    cell_rows = np.full(num_cells, -1, np.int64)
    above, before = 0, 0
    widest = int(counts.max(initial=1))
    for width in (*BUCKETS, max(widest, BUCKETS[-1] + 1)):
        name = f"rows_{width}" if width in BUCKETS else "rows_all"
        chosen = (counts > above) & (counts <= width)
        step = np.arange(width)
        index = start[chosen, None] + step
        index = np.where(step < counts[chosen, None], index, len(run_row))
        # One row of nothing, so that no list is ever empty: not every runtime allows it.
        lists[name] = np.vstack([sorted_rows[index], np.full((1, width), none)])
        cell_rows[cells[chosen]] = before + np.arange(int(chosen.sum()))
        before += len(lists[name])
        above = width
    cell_rows[cell_rows < 0] = before
    return {**lists, "cell_rows": cell_rows}
