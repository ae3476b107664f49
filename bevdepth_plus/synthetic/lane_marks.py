"""What is painted on the road: for the picture of the ground and for the map."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bevdepth_plus.synthetic.road import LANE_WIDTH, Road

WHITE, YELLOW = (225, 225, 220), (215, 170, 50)


def lane_marks(road: Road) -> Iterator[tuple[np.ndarray, tuple[int, int, int]]]:
    """Outlines ``[P, 2]``, global metres, each with its colour: lines, parking lots, crossings."""

    def mark(first: float, last: float, d: float, width: float) -> np.ndarray:
        s = np.arange(first, last + 0.01, min(1.0, last - first))
        a = np.stack(road.locate(s, d - width / 2)[:2], axis=1)
        b = np.stack(road.locate(s, d + width / 2)[:2], axis=1)
        return np.concatenate([a, b[::-1]])

    for d in (-0.15, 0.15):
        yield mark(road.start, road.end - 1, d, 0.13), YELLOW
    for side in (-1, 1):
        yield mark(road.start, road.end - 1, side * road.lanes_end, 0.15), WHITE
        for lane in range(1, road.lanes):
            for s in np.arange(road.start, road.end - 4, 9.0):
                yield mark(s, s + 3.0, side * lane * LANE_WIDTH, 0.14), WHITE
        edge = road.parking_start
        for s in np.arange(road.start, road.end - 1, 6.0):
            yield mark(s, s + 0.15, side * (edge + road.kerb) / 2, road.kerb - edge), WHITE
    for s in np.arange(road.start + 37.0, road.end - 5, 75.0):  # zebra crossings
        for d in np.arange(-road.kerb + 0.5, road.kerb - 0.2, 1.0):
            yield mark(s, s + 3.5, d, 0.5), WHITE
