"""nuScenes detection scores straight from info files, by the devkit's own algorithms.

The devkit's ``NuScenesEval`` needs all tables of the data set in memory. The info files hold all
that it reads from them, so the same boxes, filters and scores come out of a list of infos, for any
data set written in that format.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.common.data_classes import EvalBoxes
from nuscenes.eval.detection.algo import accumulate, calc_ap, calc_tp
from nuscenes.eval.detection.constants import TP_METRICS
from nuscenes.eval.detection.data_classes import DetectionBox, DetectionConfig, DetectionMetrics

from bevdepth_plus.datasets.classes import CLASSES
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.nuscenes_format import global_quaternions, rotation_of_quaternion

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
    config: str = "detection_cvpr_2019",
    class_range: float | None = None,
    classes_present_only: bool = False,
    min_lidar_points: int | None = None,
) -> dict[str, Any]:
    """Score nuScenes result dicts against the ground truth of info dicts.

    Args:
        predictions: result dicts of every sample in ``infos``, and of no other.
        infos: entries of an info file's ``data_list``.
        classes: names of the infos' labels, in order.
        config: name of a devkit detection configuration.
        class_range: farthest ground distance from the ego vehicle, metres, for every class
            (default: the configuration's own range per class).
        classes_present_only: average over the classes that have ground truth. An error that is
            undefined for all of them counts 1, as an error of a class without detections does.
        min_lidar_points: ground truth needs at least this many LiDAR points (default: the
            devkit's rule, at least one LiDAR or radar point).

    Returns:
        ``{NDS, mAP, tp_errors, per_class, num_samples, num_ground_truth, num_predictions}``;
        ``per_class[name]`` holds ``ap``, ``ap_by_distance``, the five errors (None where a class
        has none) and ``num_ground_truth``. Without any ground truth and with
        ``classes_present_only``, NDS and mAP are None.

    Raises:
        DataError: samples of predictions and infos differ, or a result dict is not valid.
    """
    cfg = detection_config(config, class_range)
    _check_same_samples(predictions, infos)
    truth = load_ground_truth(infos, classes=classes, min_lidar_points=min_lidar_points)
    truth = filter_boxes(truth, infos, cfg)
    found = filter_boxes(_load_predictions(predictions, infos, cfg), infos, cfg)

    counts = dict.fromkeys(CLASSES, 0)
    for box in truth.all:
        counts[box.detection_name] += 1
    names = [name for name in CLASSES if counts[name] or not classes_present_only]
    metrics = _score_classes(truth, found, cfg, names)
    return {
        **_summarise(metrics, cfg, names, counts),
        "num_samples": len(infos),
        "num_ground_truth": len(truth.all),
        "num_predictions": len(found.all),
    }


def detection_config(name: str, class_range: float | None = None) -> DetectionConfig:
    """A devkit detection configuration, with one range in metres for all classes if given."""
    cfg = config_factory(name)
    if class_range is None:
        return cfg
    return DetectionConfig.deserialize(
        {**cfg.serialize(), "class_range": dict.fromkeys(cfg.class_range, class_range)}
    )


def load_ground_truth(
    infos: Sequence[Mapping[str, Any]],
    *,
    classes: Sequence[str] = CLASSES,
    min_lidar_points: int | None = None,
) -> EvalBoxes:
    """Ground truth boxes of infos in the global frame, every sample listed, nothing filtered yet.

    ``min_lidar_points`` drops boxes with fewer LiDAR points. Plain v1.1 infos, without
    ``global_box`` and ``attribute``, get the box from the LiDAR frame and no attribute.
    """
    truth = EvalBoxes()
    for info in infos:
        instances = [i for i in info["instances"] if i["bbox_label_3d"] >= 0]
        if min_lidar_points is not None:
            instances = [i for i in instances if i.get("num_lidar_pts", 0) >= min_lidar_points]
        truth.add_boxes(info["token"], [_ground_truth_box(info, i, classes) for i in instances])
    return truth


def filter_boxes(
    boxes: EvalBoxes, infos: Sequence[Mapping[str, Any]], cfg: DetectionConfig
) -> EvalBoxes:
    """Drop what the devkit does not score.

    These are boxes beyond their class's range, ground truth without any point, and cycles
    standing in a bicycle rack (which nobody annotated one by one).
    """
    racks_of = {i["token"]: [_Rack(rack) for rack in i.get("bike_racks", ())] for i in infos}
    kept = EvalBoxes()
    for token, sample_boxes in boxes.boxes.items():
        racks = racks_of[token]
        kept.add_boxes(
            token,
            [
                box
                for box in sample_boxes
                if box.ego_dist < cfg.class_range[box.detection_name]
                and box.num_pts != 0
                and not _stands_in_rack(box, racks)
            ],
        )
    return kept


def predictions_from_ground_truth(
    infos: Sequence[Mapping[str, Any]],
    *,
    classes: Sequence[str] = CLASSES,
    min_lidar_points: int | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """The ground truth handed in as a perfect detector's result: a self-test of a data set.

    Boxes that no point hits are left out, as the scoring leaves them out of the ground truth.
    It must score mAP 1.0 and NDS above 0.99 over the classes present. Infos without attributes
    lose a tenth of NDS: the devkit counts an attribute error that nobody can compute as 1.
    """
    results = {}
    truth = load_ground_truth(infos, classes=classes, min_lidar_points=min_lidar_points)
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
    truth: EvalBoxes, found: EvalBoxes, cfg: DetectionConfig, names: Sequence[str]
) -> DetectionMetrics:
    metrics = DetectionMetrics(cfg)
    # A class that was never added would count as an error of 0 in the devkit's means.
    for name in cfg.class_names:
        for error in TP_METRICS:
            metrics.add_label_tp(name, error, np.nan)
    for name in names:
        data = {d: accumulate(truth, found, name, cfg.dist_fcn_callable, d) for d in cfg.dist_ths}
        for distance, datum in data.items():
            ap = calc_ap(datum, cfg.min_recall, cfg.min_precision)
            metrics.add_label_ap(name, distance, ap)
        for error in TP_METRICS:
            if error not in _UNDEFINED_ERRORS.get(name, ()):
                value = calc_tp(data[cfg.dist_th_tp], cfg.min_recall, error)
                metrics.add_label_tp(name, error, value)
    return metrics


def _summarise(
    metrics: DetectionMetrics,
    cfg: DetectionConfig,
    names: Sequence[str],
    counts: Mapping[str, int],
) -> dict[str, Any]:
    per_class = {
        name: {
            "ap": float(metrics.mean_dist_aps[name]),
            "ap_by_distance": {str(d): metrics.get_label_ap(name, d) for d in cfg.dist_ths},
            **{e: _none_if_nan(metrics.get_label_tp(name, e)) for e in TP_METRICS},
            "num_ground_truth": counts[name],
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
    nds = (cfg.mean_ap_weight * metrics.mean_ap + sum(scores)) / (cfg.mean_ap_weight + len(scores))
    return {
        "NDS": float(nds),
        "mAP": metrics.mean_ap,
        "tp_errors": tp_errors,
        "per_class": per_class,
    }


def _ground_truth_box(
    info: Mapping[str, Any], instance: Mapping[str, Any], classes: Sequence[str]
) -> DetectionBox:
    box = instance.get("global_box") or _global_box(info, instance)
    box = {key: tuple(float(number) for number in value) for key, value in box.items()}
    # -1 says unknown; only a known zero drops a box.
    points = instance.get("num_lidar_pts", -1)
    if points >= 0:
        points += max(instance.get("num_radar_pts", 0), 0)
    return DetectionBox(
        sample_token=info["token"],
        translation=box["translation"],
        size=box["size"],
        rotation=box["rotation"],
        velocity=box["velocity"],
        ego_translation=_from_ego(info, box["translation"]),
        num_pts=int(points),
        detection_name=classes[instance["bbox_label_3d"]],
        attribute_name=instance.get("attribute", ""),
    )


def _global_box(info: Mapping[str, Any], instance: Mapping[str, Any]) -> dict[str, Any]:
    """The global box of an instance from its LiDAR-frame box (gravity centre) and the poses."""
    global_T_ego = np.asarray(info["ego2global"], dtype=np.float64)
    global_T_lidar = global_T_ego @ np.asarray(info["lidar_points"]["lidar2ego"], dtype=np.float64)
    x, y, z, length, width, height, yaw = instance["bbox_3d"]
    rotation = global_T_lidar[:3, :3]
    return {
        "translation": rotation @ (x, y, z) + global_T_lidar[:3, 3],
        "size": (width, length, height),
        "rotation": global_quaternions(np.array([yaw]), rotation)[0],
        "velocity": rotation[:2, :2] @ instance.get("velocity", (np.nan, np.nan)),
    }


def _load_predictions(
    predictions: Results, infos: Sequence[Mapping[str, Any]], cfg: DetectionConfig
) -> EvalBoxes:
    info_of = {info["token"]: info for info in infos}
    found = EvalBoxes()
    # In the predictions' own order of samples, as in the devkit: it decides between equal scores.
    for token, results in predictions.items():
        if len(results) > cfg.max_boxes_per_sample:
            raise DataError(
                f"sample {token}: {len(results)} boxes predicted, "
                f"at most {cfg.max_boxes_per_sample} are allowed"
            )
        found.add_boxes(token, [_prediction_box(info_of[token], token, r) for r in results])
    return found


def _prediction_box(info: Mapping[str, Any], token: str, result: Mapping[str, Any]) -> DetectionBox:
    try:
        box = DetectionBox.deserialize({"sample_token": token, **result})
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"sample {token}: a result dict is not valid: {error!r}") from error
    box.ego_translation = _from_ego(info, box.translation)
    return box


def _from_ego(info: Mapping[str, Any], translation: Sequence[float]) -> tuple[float, ...]:
    ego = np.asarray(info["ego2global"], dtype=np.float64)[:3, 3]
    return tuple(float(number) for number in np.asarray(translation) - ego)


def _check_same_samples(predictions: Results, infos: Sequence[Mapping[str, Any]]) -> None:
    expected = {info["token"] for info in infos}
    if len(expected) != len(infos):
        raise DataError("two infos carry the same sample token; write the info file again")
    missing, extra = sorted(expected - set(predictions)), sorted(set(predictions) - expected)
    if missing:
        raise DataError(
            f"{len(missing)} of {len(infos)} samples have no predictions, for example "
            f"{missing[0]}; an empty list says that nothing was found"
        )
    if extra:
        raise DataError(f"{len(extra)} predicted samples are not in the infos, as {extra[0]}")


class _Rack:
    """An annotated bicycle rack, an oriented box in the global frame."""

    def __init__(self, rack: Mapping[str, Any]) -> None:
        width, length, height = rack["size"]
        self.half_size = np.array([length, width, height]) / 2
        self.centre = np.asarray(rack["translation"], dtype=np.float64)
        self.rotation = rotation_of_quaternion(rack["rotation"])

    def contains(self, point: Sequence[float]) -> bool:
        local = self.rotation.T @ (np.asarray(point) - self.centre)
        return bool((np.abs(local) <= self.half_size).all())


def _stands_in_rack(box: DetectionBox, racks: Sequence[_Rack]) -> bool:
    if box.detection_name not in ("bicycle", "motorcycle"):
        return False
    return any(rack.contains(box.translation) for rack in racks)


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
