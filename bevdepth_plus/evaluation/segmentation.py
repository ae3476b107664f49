"""Intersection over union of BEV layers, as sums that add up over samples and processes."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

THRESHOLD = 0.5  # of the probability, from which a cell counts as found


class LayerSums:
    """Cells of each layer that are found, true, and both; unknown cells do not count."""

    def __init__(self) -> None:
        self.sums: dict[str, np.ndarray] = {}  # layer -> (both, either, true cells)

    def update(
        self,
        pred: ArrayLike,  # [L, Y, X], probabilities
        target: ArrayLike,  # [L, Y, X], 1, 0, or anything else for unknown
        layers: tuple[str, ...],  # L names
    ) -> None:
        """Add one sample.

        Raises:
            ValueError: shapes disagree.
        """
        pred, target = np.asarray(pred), np.asarray(target)
        if pred.shape != target.shape or pred.ndim != 3 or len(pred) != len(layers):
            raise ValueError(
                f"pred and target must both be [{len(layers)}, Y, X], got {pred.shape} and "
                f"{target.shape}"
            )
        for name, found, true in zip(layers, pred >= THRESHOLD, target, strict=True):
            known, true = (true == 0) | (true == 1), true == 1
            counts = [(found & true & known).sum(), ((found | true) & known).sum(), true.sum()]
            self._add(name, np.array(counts, dtype=np.int64))

    def merge(self, other: LayerSums) -> None:
        """Add what another process or sample has summed up."""
        for name, counts in other.sums.items():
            self._add(name, counts)

    def compute(self) -> dict[str, dict[str, float | int | None]]:
        """``{layer: {iou, cells}}``; the IoU of a layer that is nowhere, nor found, is None."""
        return {
            name: {"iou": float(both / either) if either else None, "cells": int(cells)}
            for name, (both, either, cells) in self.sums.items()
        }

    def _add(self, name: str, counts: np.ndarray) -> None:
        self.sums[name] = self.sums.get(name, np.zeros(3, dtype=np.int64)) + counts
