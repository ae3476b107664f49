"""The road: a winding centreline, lanes along it, and how traffic moves along a lane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STEP = 0.25  # metres between centreline samples
MARGIN = 70.0  # metres of map around the centreline
LANE_WIDTH = 3.5
BIKE_LANE_WIDTH = 1.8
PARKING_WIDTH = 3.2
SIDEWALK_WIDTH = 4.2


class Road:
    """A winding street addressed by s along and d across (left positive), metres.

    The heading swings like a sine, so the road never meets itself, and its radius stays
    above about 40 m.
    """

    def __init__(self, start: float, end: float, lanes: int, rng: np.random.Generator) -> None:
        self.start, self.end, self.lanes = start, end, lanes
        s = np.arange(start, end + STEP, STEP)
        length = rng.uniform(170.0, 260.0)
        swing = rng.uniform(0.45, 0.9) * length / 260.0
        phase = rng.uniform(0, 2 * np.pi)
        base = rng.uniform(-np.pi, np.pi)
        self._heading = base + swing * np.sin(2 * np.pi * s / length + phase)
        dx, dy = np.cos(self._heading) * STEP, np.sin(self._heading) * STEP
        # trapezoidal integration of the heading
        self._x = np.concatenate([[0], np.cumsum((dx[1:] + dx[:-1]) / 2)])
        self._y = np.concatenate([[0], np.cumsum((dy[1:] + dy[:-1]) / 2)])
        # global coordinates are positive in nuScenes, and map masks rely on it
        self._x += MARGIN - self._x.min()
        self._y += MARGIN - self._y.min()

    @property
    def lanes_end(self) -> float:
        """Distance from the centreline to the outer edge of the outermost lane."""
        return self.lanes * LANE_WIDTH

    @property
    def parking_start(self) -> float:
        """Distance from the centreline to the edge between bicycle lane and parking."""
        return self.lanes_end + BIKE_LANE_WIDTH

    @property
    def kerb(self) -> float:
        """Distance from the centreline to the kerb."""
        return self.parking_start + PARKING_WIDTH

    @property
    def sidewalk_end(self) -> float:
        """Distance from the centreline to the outer edge of the sidewalk."""
        return self.kerb + SIDEWALK_WIDTH

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the area the map covers, from (0, 0), metres."""
        return float(self._x.max()) + MARGIN, float(self._y.max()) + MARGIN

    def locate(
        self, s: float | np.ndarray, d: float | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Global x, y and heading at (s, d); s outside the road is held at its ends."""
        index = (np.asarray(s) - self.start) / STEP
        grid = np.arange(len(self._x))
        heading = np.interp(index, grid, self._heading)
        x = np.interp(index, grid, self._x) - np.sin(heading) * d
        y = np.interp(index, grid, self._y) + np.cos(heading) * d
        return x, y, heading

    def strip(self, inner: float, outer: float) -> np.ndarray:
        """Outline [P, 2] of the band between two offsets d, along the whole road."""
        s = np.arange(self.start, self.end, 1.0)
        a = np.stack(self.locate(s, inner)[:2], axis=1)
        b = np.stack(self.locate(s, outer)[:2], axis=1)
        return np.concatenate([a, b[::-1]])

    def distance(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Distance of points from the centreline."""
        gap = (np.asarray(x)[..., None] - self._x) ** 2 + (np.asarray(y)[..., None] - self._y) ** 2
        return np.sqrt(gap.min(axis=-1))


@dataclass(frozen=True)
class Flow:
    """How everything in one lane moves: all share it, so nobody runs into anybody.

    Speed is ``mean + swing * cos(rate * t + phase)`` and never negative.
    """

    mean: float  # m/s
    swing: float = 0.0  # m/s, at most the mean
    rate: float = 0.5  # rad/s
    phase: float = 0.0

    def travelled(self, t: float) -> float:
        """Metres covered since time 0."""
        wave = np.sin(self.rate * t + self.phase) - np.sin(self.phase)
        return float(self.mean * t + self.swing / self.rate * wave)

    def speed(self, t: float) -> float:
        """Metres per second at time t."""
        return float(self.mean + self.swing * np.cos(self.rate * t + self.phase))


STILL = Flow(0.0)
