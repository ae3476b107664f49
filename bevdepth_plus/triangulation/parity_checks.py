"""How far our tensors are from the public DELTAS code's recorded ones."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

PIXELS = 5e-4  # tolerance in pixels: recorded in float32, at coordinates of up to 1000
RELATIVE = 2e-5  # of a tensor's largest value, and of a point's distance
GRADIENT = 2e-3  # of a gradient's largest value; sums over thousands of samples cancel


@dataclass(frozen=True)
class Check:
    """One tensor of a recorded case beside ours.

    Attributes:
        name: of the tensor.
        error: the largest, in pixels or relative as the tolerance is.
        tolerance: what it may be.
    """

    name: str
    error: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.error <= self.tolerance  # False for NaN

    @property
    def share(self) -> float:
        """Of the tolerance that the error takes up."""
        return self.error / max(self.tolerance, 1e-30)


Record = Mapping[str, Tensor]
Checker = Callable[[Record, str], Iterator[Check]]


def pixels(name: str, ours: Tensor, recorded: Tensor) -> Check:
    """Largest difference in pixels."""
    return Check(name, _difference(name, ours, recorded).max().item(), PIXELS)


def relative(name: str, ours: Tensor, recorded: Tensor, tolerance: float = RELATIVE) -> Check:
    """Largest difference beside the record's largest value, or beside 1e-9 if that is smaller."""
    largest = max(recorded.double().abs().max().item(), 1e-9)
    return Check(name, _difference(name, ours, recorded).max().item() / largest, tolerance)


def gradient(name: str, ours: Tensor | None, recorded: Tensor) -> Check:
    if ours is None:
        raise ValueError(f"{name}: ours has no gradient")
    return relative(name, ours, recorded, GRADIENT)


def distances(name: str, ours: Tensor, recorded: Tensor, tolerance: float = RELATIVE) -> Check:
    """Largest distance between two points ``[..., 3]`` beside their distance from the camera."""
    between = _difference(name, ours, recorded).norm(dim=-1)
    away = recorded.double().norm(dim=-1).clamp(min=1e-9)
    return Check(name, (between / away).max().item(), tolerance)


def same(name: str, ours: Tensor, recorded: Tensor) -> Check:
    """How many entries differ; none may."""
    return Check(name, (_difference(name, ours, recorded) != 0).sum().item(), 0.0)


def drawn_weights(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights from their names, as the record's README prescribes."""
    return {name: _drawn(prefix + name, tuple(shape)) for name, shape in shapes.items()}


def _drawn(key: str, shape: tuple[int, ...]) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    state = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF)
    z = state.standard_normal(shape or (1,)).reshape(shape)
    if key.endswith("running_mean"):
        z = 0.05 * z
    elif key.endswith("running_var"):
        z = 1 + 0.2 * np.tanh(z)
    elif key.endswith("weight") and len(shape) == 1:
        z = 1 + 0.1 * np.tanh(z)
    elif key.endswith("bias"):
        z = 0.05 * z
    else:
        z = 0.7 * z * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(z, dtype=np.float32))


def _difference(name: str, ours: Tensor, recorded: Tensor) -> Tensor:
    if ours.shape != recorded.shape:
        raise ValueError(f"{name}: ours is {tuple(ours.shape)}, recorded {tuple(recorded.shape)}")
    return (ours.detach().double() - recorded.double()).abs()
