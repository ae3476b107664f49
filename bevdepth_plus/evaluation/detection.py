"""nuScenes detection scores straight from info files, by the devkit's own algorithms.

The devkit's ``NuScenesEval`` needs all tables of the data set in memory, and its ten classes. The
info files hold all that it reads from them, so the same boxes, filters and scores come out of a
list of infos, for any data set and class names written in that format.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
from nuscenes.eval.detection.constants import TP_METRICS
from nuscenes.eval.detection.data_classes import DetectionMetrics

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.boxes import filter_boxes, load_ground_truth, load_predictions
from bevdepth_plus.evaluation.rules import OFFICIAL, ScoringRules, scoring_rules

Results = Mapping[str, Sequence[Mapping[str, Any]]]  # sample token -> nuScenes result dicts

# Errors without a meaning for a class (nuScenes detection task): a cone looks the same from all
# sides and neither it nor a barrier moves or has attributes.
_UNDEFINED_ERRORS = {
    "traffic_cone": ("orient_err", "vel_err", "attr_err"),
    "barrier": ("vel_err", "attr_err"),
}


def evaluate_detections(
    predictions: Results,
    infos: Sequence[Mapping[str, Any]],
    *,
    classes: Sequence[str] = CLASSES,
    label_names: Mapping[int, str] | None = None,
    config: str = OFFICIAL,
    class_range: float | Mapping[str, float] | None = None,
    default_range: float | None = None,
    classes_present_only: bool = False,
    min_lidar_points: int | None = None,
) -> dict[str, Any]:
    """Score nuScenes result dicts against the ground truth of info dicts.

    Args:
        predictions: result dicts of every sample in ``infos``, and of no other.
        infos: entries of an info file's ``data_list``.
        classes: names of the classes to score; ground truth of other classes is left out.
        label_names: label in the infos -> class name (default: the position in ``classes``).
        config: name of a devkit detection configuration.
        class_range: farthest ground distance from the ego vehicle, metres: one for every class,
            or by class name (default: the configuration's own range per class).
        default_range: metres, for classes that the configuration does not know, see
            :func:`scoring_rules`.
        classes_present_only: average over the classes that have ground truth. An error that is
            undefined for all of them counts 1, as an error of a class without detections does.
        min_lidar_points: ground truth needs at least this many LiDAR points (default: the
            devkit's rule, at least one LiDAR or radar point).

    Returns:
        ``{NDS, mAP, tp_errors, per_class, num_samples, num_ground_truth, num_predictions}``;
        ``per_class[name]`` holds ``ap``, ``ap_by_distance``, the five errors (None where a class
        has none), ``num_ground_truth`` and ``range`` (metres). Without any ground truth and with
        ``classes_present_only``, NDS and mAP are None.

    Raises:
        DataError: samples of predictions and infos differ, or a box is not valid.
    """
    rules = scoring_rules(classes, class_range, default_range, config)
    truth = load_ground_truth(
        infos, classes=classes, label_names=label_names, min_lidar_points=min_lidar_points
    )
    _check_same_samples(predictions, infos)
    truth = filter_boxes(truth, infos, rules)
    found = filter_boxes(load_predictions(predictions, infos, rules), infos, rules)

    counts = dict.fromkeys(classes, 0)
    for box in truth.all:
        counts[box.detection_name] += 1
    names = [name for name in classes if counts[name] or not classes_present_only]
    metrics = _score_classes(truth, found, rules, names)
    return {
        **_summarise(metrics, rules, names, counts),
        "num_samples": len(infos),
        "num_ground_truth": len(truth.all),
        "num_predictions": len(found.all),
    }


def predictions_from_ground_truth(
    infos: Sequence[Mapping[str, Any]],
    *,
    classes: Sequence[str] = CLASSES,
    label_names: Mapping[int, str] | None = None,
    min_lidar_points: int | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """The ground truth handed in as a perfect detector's result: a self-test of a data set.

    Boxes that no point hits are left out, as the scoring leaves them out of the ground truth; an
    unknown velocity is handed in as 0. It must score mAP 1.0 and NDS above 0.99 over the classes
    present. Infos without attributes lose a tenth of NDS: the devkit counts an attribute error
    that nobody can compute as 1; infos without velocities likewise.
    """
    results = {}
    truth = load_ground_truth(
        infos, classes=classes, label_names=label_names, min_lidar_points=min_lidar_points
    )
    for token, boxes in truth.boxes.items():
        results[token] = [
            {
                "sample_token": token,
                "translation": list(box.translation),
                "size": list(box.size),
                "rotation": list(box.rotation),
                "velocity": np.nan_to_num(box.velocity).tolist(),
                "detection_name": box.detection_name,
                "detection_score": 1.0,
                "attribute_name": box.attribute_name,
            }
            for box in boxes
            if box.num_pts != 0
        ]
    return results


def _score_classes(
    truth: EvalBoxes, found: EvalBoxes, rules: ScoringRules, names: Sequence[str]
) -> DetectionMetrics:
    metrics = DetectionMetrics(rules)
    # A class that was never added would count as an error of 0 in the devkit's means.
    for name in rules.class_names:
        for error in TP_METRICS:
            metrics.add_label_tp(name, error, np.nan)
    for name in names:
        data = {
            distance: accumulate(truth, found, name, rules.dist_fcn_callable, distance)
            for distance in rules.dist_ths
        }
        for distance, datum in data.items():
            ap = calc_ap(datum, rules.min_recall, rules.min_precision)
            metrics.add_label_ap(name, distance, ap)
        undefined = _undefined_errors(name, truth)
        for error in TP_METRICS:
            if error not in undefined:
                value = calc_tp(data[rules.dist_th_tp], rules.min_recall, error)
                metrics.add_label_tp(name, error, value)
    return metrics


def _undefined_errors(name: str, truth: EvalBoxes) -> Sequence[str]:
    """Errors that a class cannot have, or that no ground truth lets be measured."""
    # Of the challenge's own classes, and of one without ground truth, the whole data set decides.
    boxes = [] if name in CLASSES else [b for b in truth.all if b.detection_name == name]
    boxes = boxes or truth.all
    known = {
        "vel_err": any(np.isfinite(box.velocity).all() for box in boxes),
        "attr_err": any(box.attribute_name for box in boxes),
    }
    unknown = [error for error, measured in known.items() if boxes and not measured]
    return [*_UNDEFINED_ERRORS.get(name, ()), *unknown]


def _summarise(
    metrics: DetectionMetrics,
    rules: ScoringRules,
    names: Sequence[str],
    counts: Mapping[str, int],
) -> dict[str, Any]:
    per_class = {
        name: {
            "ap": float(metrics.mean_dist_aps[name]),
            "ap_by_distance": {str(d): metrics.get_label_ap(name, d) for d in rules.dist_ths},
            **{e: _none_if_nan(metrics.get_label_tp(name, e)) for e in TP_METRICS},
            "num_ground_truth": counts[name],
            "range": float(rules.class_range[name]),
        }
        for name in names
    }
    if not names:
        tp_errors = dict.fromkeys(TP_METRICS)
        return {"NDS": None, "mAP": None, "tp_errors": tp_errors, "per_class": per_class}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice")  # said as None, not as a warning
        tp_errors = {e: _none_if_nan(value) for e, value in metrics.tp_errors.items()}
    scores = [max(0.0, 1.0 - (1.0 if e is None else e)) for e in tp_errors.values()]
    # The devkit's nd_score, which does not know undefined errors.
    weighted = rules.mean_ap_weight * metrics.mean_ap + sum(scores)
    nds = weighted / (rules.mean_ap_weight + len(scores))
    return {
        "NDS": float(nds),
        "mAP": metrics.mean_ap,
        "tp_errors": tp_errors,
        "per_class": per_class,
    }


def _check_same_samples(predictions: Results, infos: Sequence[Mapping[str, Any]]) -> None:
    expected = {info["token"] for info in infos}
    missing, extra = sorted(expected - set(predictions)), sorted(set(predictions) - expected)
    if missing:
        raise DataError(
            f"{len(missing)} of {len(infos)} samples have no predictions, for example "
            f"{missing[0]}; an empty list says that nothing was found"
        )
    if extra:
        raise DataError(f"{len(extra)} predicted samples are not in the infos, as {extra[0]}")


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
