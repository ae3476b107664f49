"""How far one of our tensors is from a recorded one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Comparison:
    """How far our tensor is from the recorded one.

    Attributes:
        absolute: the largest error; NaN where ours is NaN and the record is not.
        relative: the same over the record's largest value.
        compared: entries compared; those recorded as NaN are not.
        recorded: entries recorded.
    """

    absolute: float
    relative: float
    compared: int
    recorded: int


def compare(
    name: str,
    actual: Tensor,
    expected: Tensor,  # of the same shape
) -> Comparison:
    """Compare the entries that are not recorded as NaN.

    Raises:
        ValueError: the shapes differ.
    """
    if actual.shape != expected.shape:
        raise ValueError(f"{name}: ours is {tuple(actual.shape)}, recorded {tuple(expected.shape)}")
    known = ~expected.isnan()
    compared = int(known.sum())
    if not compared:
        return Comparison(0.0, 0.0, 0, expected.numel())
    actual, expected = actual[known].double(), expected[known].double()
    # Where both are the same infinity the difference would be NaN.
    difference = (actual - expected).masked_fill(actual == expected, 0).abs().max().item()
    relative = difference / max(expected.abs().max().item(), 1e-12)
    return Comparison(difference, relative, compared, known.numel())
