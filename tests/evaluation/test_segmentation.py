from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.evaluation.segmentation import LayerSums

TRUE = np.array([[[1, 1, 0, 0, 255]]])


def iou(*samples) -> dict:
    sums = LayerSums()
    for pred, target in samples:
        sums.update(pred, target, ("road",))
    return sums.compute()["road"]


def test_it_is_the_share_of_cells_found_and_true_among_those_found_or_true():
    pred = np.array([[[0.9, 0.1, 0.8, 0.2, 0.9]]])
    assert iou((pred, TRUE)) == {"iou": pytest.approx(1 / 3), "cells": 2}


def test_the_truth_as_prediction_scores_one_and_unknown_cells_do_not_count():
    assert iou((np.where(TRUE == 1, 1.0, 0.0), TRUE))["iou"] == 1.0


def test_a_layer_that_is_nowhere_and_not_found_has_no_iou():
    assert iou((np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))) == {"iou": None, "cells": 0}


def test_samples_add_up_as_one_large_map():
    rng = np.random.default_rng(0)
    pred, target = rng.random((2, 1, 8, 8)), rng.integers(0, 2, (2, 1, 8, 8))
    together = iou((np.concatenate(pred, axis=2), np.concatenate(target, axis=2)))
    assert iou(*zip(pred, target, strict=True)) == together
    parts = [LayerSums(), LayerSums()]
    for part, p, t in zip(parts, pred, target, strict=True):
        part.update(p, t, ("road",))
    parts[0].merge(parts[1])
    assert parts[0].compute()["road"] == together


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\[1, Y, X\], got \(1, 1, 5\) and \(1, 1, 4\)"):
        iou((np.zeros((1, 1, 5)), np.zeros((1, 1, 4))))
