"""What the inferencer returns: boxes in the ego frame, and how they came about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Box(NamedTuple):
    """One object in the ego frame; metres, radians, m/s."""

    centre: tuple[float, float, float]  # gravity centre
    size: tuple[float, float, float]  # length, width, height
    yaw: float  # counter-clockwise about z from +x
    velocity: tuple[float, float]  # on the ground; NaN where the model has none
    name: str
    score: float


@dataclass(frozen=True, eq=False)  # arrays have no equality that a dataclass could use
class Boxes:
    """M objects in the ego frame, as arrays; iterate for single :class:`Box` es.

    Attributes:
        centres: gravity centres, metres, ``[M, 3]``.
        sizes: length, width, height, metres, ``[M, 3]``.
        yaws: radians, counter-clockwise about z from +x, ``[M]``.
        velocities: on the ground, m/s, ``[M, 2]``; NaN where the model has none.
        scores: ``[M]``.
        labels: indices into ``classes``, ``[M]``.
        classes: names.
    """

    centres: np.ndarray
    sizes: np.ndarray
    yaws: np.ndarray
    velocities: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[Box]:
        for centre, size, yaw, velocity, name, score in zip(
            self.centres.tolist(), self.sizes.tolist(), self.yaws.tolist(),
            self.velocities.tolist(), self.names, self.scores.tolist(), strict=True,
        ):  # fmt: skip
            yield Box(tuple(centre), tuple(size), yaw, tuple(velocity), name, score)

    def __getitem__(self, which: np.ndarray | slice) -> Boxes:
        """The boxes that an index array, mask or slice picks."""
        return Boxes(
            self.centres[which], self.sizes[which], self.yaws[which], self.velocities[which],
            self.scores[which], self.labels[which], self.classes,
        )  # fmt: skip

    @property
    def names(self) -> list[str]:
        """The class name of each box."""
        return [self.classes[label] for label in self.labels]

    def as_array(self) -> np.ndarray:
        """``[M, 9]``: gravity centre, length, width, height, yaw, vx, vy."""
        return np.concatenate(
            [self.centres, self.sizes, self.yaws[:, None], self.velocities], axis=1
        )


@dataclass(frozen=True, eq=False)
class Result:
    """The detections of one moment.

    Attributes:
        boxes: in the ego frame at ``stamp``.
        stamp: seconds; of the newest image. None: not known.
        cameras: names of the cameras whose images were used.
        missing: camera -> why it is missing.
        depth: camera -> metres on the feature cells, ``[h, w]``; empty unless asked for.
        milliseconds: stage -> wall time.
        past: how many past moments the detector really had.
        reset: why the memory of the past was dropped before this moment; None: it was not.
        world_T_ego: pose of the ego frame at ``stamp``, ``[4, 4]``; None: not known.
    """

    boxes: Boxes
    stamp: float | None = None
    cameras: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    depth: Mapping[str, np.ndarray] = field(default_factory=dict)
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    past: int = 0
    reset: str | None = None
    world_T_ego: np.ndarray | None = None


def joined(parts: Sequence[Boxes]) -> Boxes:
    """The boxes of all parts, which have the same classes, in their order."""
    return Boxes(
        centres=np.concatenate([part.centres for part in parts]),
        sizes=np.concatenate([part.sizes for part in parts]),
        yaws=np.concatenate([part.yaws for part in parts]),
        velocities=np.concatenate([part.velocities for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        classes=parts[0].classes,
    )
