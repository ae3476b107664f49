"""The nuScenes scores and the depth metrics as an mmengine metric."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.registry import METRICS
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from torch import Tensor

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.datasets.ground_truth import names_by_label
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.boxes import load_ground_truth
from bevdepth_plus.evaluation.depth import DEFAULT_RANGES, DepthSums
from bevdepth_plus.evaluation.detection import evaluate_detections
from bevdepth_plus.evaluation.notes import notes_on
from bevdepth_plus.evaluation.nuscenes_format import MAX_BOXES_PER_SAMPLE, results_from_boxes
from bevdepth_plus.evaluation.rules import scoring_rules
from bevdepth_plus.evaluation.segmentation import LayerSums
from bevdepth_plus.evaluation.submission import write_submission
from bevdepth_plus.evaluation.tables import (
    depth_table,
    detection_table,
    map_table,
    temporal_depth_table,
)
from bevdepth_plus.evaluation.temporal_depth import TEMPORAL_METRIC_NAMES, TemporalDepthSums
from bevdepth_plus.evaluation.temporal_samples import temporal_sums
from bevdepth_plus.files import write_json
from bevdepth_plus.geometry.bev_grid import BEVGrid
from bevdepth_plus.mmdet3d_boxes import from_mmdet3d

_LOG_NAMES = {
    "trans_err": "mATE",
    "scale_err": "mASE",
    "orient_err": "mAOE",
    "vel_err": "mAVE",
    "attr_err": "mAAE",
}


@METRICS.register_module()
class NuScenesBEVMetric(BaseMetric):
    """NDS, mAP and depth errors of detections in the ego frame, for any class names.

    What cannot be scored is refused when the metric learns the data set's classes
    (``dataset_meta``), which mmengine tells it before training starts.

    Args:
        ann_file: info file of the evaluated split; samples that were not evaluated are left out.
        out_dir: folder for ``metrics.json``; None writes nothing.
        submission: path of the leaderboard's result file to write; None writes none.
        format_only: only write ``submission``, for splits without ground truth.
        class_range: evaluation range, metres: one for all classes, or by class name.
        grid: x, y, z of the model's :class:`BEVGrid` (the tools hand it over): the range of
            classes that nuScenes does not have is its half-size.
        attributes: for own classes with attributes, ``{class: {"moving": name, "resting": name}}``.
        classes_present_only: average over the classes that have ground truth.
        min_lidar_points: ground truth needs at least this many LiDAR points.
        depth_ranges: bins of true depth, metres.
        collect_device: where ranks exchange results, 'cpu' or 'gpu'.
        collect_dir: shared folder for that exchange on the CPU (default: below the working
            directory).
    """

    default_prefix = ""

    def __init__(
        self,
        ann_file: str | os.PathLike,
        out_dir: str | os.PathLike | None = None,
        submission: str | os.PathLike | None = None,
        format_only: bool = False,
        class_range: float | Mapping[str, float] | None = None,
        grid: Mapping[str, Sequence[float]] | None = None,
        attributes: Mapping[str, Mapping[str, str]] | None = None,
        classes_present_only: bool = False,
        min_lidar_points: int | None = None,
        depth_ranges: Sequence[tuple[float, float]] = DEFAULT_RANGES,
        collect_device: str = "cpu",
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        if format_only and submission is None:
            raise ValueError("format_only=True writes a result file: give its path as submission=")
        self.ann_file = ann_file
        self.out_dir = None if out_dir is None else Path(out_dir)
        self.submission = submission
        self.format_only = format_only
        self.grid = None if grid is None else BEVGrid(**grid)
        self.attributes = dict(attributes or {})
        self.detection_options = {
            "class_range": class_range,
            "classes_present_only": classes_present_only,
            "min_lidar_points": min_lidar_points,
        }
        self.depth_ranges = depth_ranges

    @property
    def dataset_meta(self) -> Mapping[str, Any] | None:
        """What the evaluated data set says of itself; ``classes`` are the scored ones."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, dataset_meta: Mapping[str, Any]) -> None:
        self._dataset_meta = dataset_meta
        if not self.format_only:
            self._check_ground_truth()

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep each sample's best boxes and the sums of its depths' errors, on the CPU.

        Depth is scored where a sample has ``gt_depth`` [N, H, W] (metres, 0 = unknown) and
        ``pred_depths``, a dict of maps of that shape: ``bin``, ``metric``, ``fused``, ...; map
        layers where it has ``gt_map`` and ``pred_map`` [L, Y, X]; depth over time where it has
        ``gt_depth_over_time`` and ``pred_depths_over_time``, see ``temporal_sums``.
        """
        for sample in data_samples:
            token = _entry(sample, "token", "a sample")
            found = _entry(sample, "pred_instances_3d", f"sample {token}")
            self.results.append(
                {
                    "token": token,
                    **_best_boxes(found, token),
                    "depth": self._depth_sums(sample),
                    "depth_over_time": temporal_sums(sample, self.depth_ranges),
                    "map": _layer_sums(sample),
                    "cameras": _working_cameras(sample),
                }
            )

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Score the collected samples; called on the main process alone."""
        first_of: dict[str, dict[str, Any]] = {}
        for result in results:  # ranks repeat samples to make their shares equal
            first_of.setdefault(result["token"], result)
        results = list(first_of.values())
        content = read_info_file(self.ann_file)
        infos = self._infos_of(results, content["data_list"])
        predictions = self._predictions(results, infos)
        if self.submission is not None:
            path = write_submission(predictions, self.submission)
            print_log(f"result file for the leaderboard: {path}", logger="current")
        if self.format_only:
            return {}

        report = evaluate_detections(
            predictions,
            infos,
            classes=self.classes,
            label_names=self._label_names(content["metainfo"]),
            default_range=self._default_range(),
            **self.detection_options,
        )
        for part in ("depth", "depth_over_time"):
            report[part] = self._depth_report([result[part] for result in results])
        report["map"] = _map_report(results)
        cameras = {result["token"]: result["cameras"] for result in results}
        report["notes"] = notes_on(
            report, infos, content, options=self.detection_options, cameras=cameras, grid=self.grid
        )
        if any(result["boxes"].shape[1] == 7 for result in results):
            report["notes"].append("the model gives no velocities: vel_err is that of rest")
        self._show(report)
        if self.out_dir is not None:
            write_json(self.out_dir / "metrics.json", report, indent=2)
        return _flatten(report)

    @property
    def classes(self) -> Sequence[str]:
        """Names of the scored classes, in the order of the predicted labels."""
        return (self.dataset_meta or {}).get("classes", CLASSES)

    def _check_ground_truth(self) -> None:
        """Refuse now what would fail after the evaluation, which may be hours away."""
        scoring_rules(self.classes, self.detection_options["class_range"], self._default_range())
        for name, own in self.attributes.items():
            if name not in self.classes or not {"moving", "resting"} <= set(own):
                raise DataError(
                    f"attributes of {name!r} must be dict(moving=..., resting=...) of one of the "
                    f"classes {', '.join(self.classes)}, got {dict(own)}"
                )
        content = read_info_file(self.ann_file)
        infos = self._require_ground_truth(content["data_list"])
        label_names = self._label_names(content["metainfo"])
        load_ground_truth(infos, classes=self.classes, label_names=label_names)

    def _label_names(self, metainfo: Mapping[str, Any]) -> dict[int, str]:
        return names_by_label(metainfo["categories"], f"{self.ann_file}: metainfo.categories")

    def _default_range(self) -> float | None:
        return None if self.grid is None else self.grid.half_size

    def _depth_sums(self, sample: Mapping[str, Any]) -> dict[str, DepthSums]:
        target = sample.get("gt_depth")
        if target is None:
            return {}
        sums = {name: DepthSums(self.depth_ranges) for name in sample.get("pred_depths", {})}
        for name, depth_sums in sums.items():
            pred = sample["pred_depths"][name]
            depth_sums.update(_on_cpu(pred), _on_cpu(target), sample.get("cam_names"))
        return sums

    def _infos_of(
        self, results: Sequence[Mapping[str, Any]], infos: Sequence[Mapping[str, Any]]
    ) -> list[Mapping[str, Any]]:
        info_of = {info["token"]: info for info in infos}
        unknown = [result["token"] for result in results if result["token"] not in info_of]
        if unknown:
            raise DataError(
                f"{self.ann_file} has no sample {unknown[0]} ({len(unknown)} unknown samples): "
                "give the metric the info file that the test dataloader reads"
            )
        infos = [info_of[result["token"]] for result in results]
        return infos if self.format_only else self._require_ground_truth(infos)

    def _require_ground_truth(
        self, infos: Sequence[Mapping[str, Any]]
    ) -> Sequence[Mapping[str, Any]]:
        without = [info["token"] for info in infos if info.get("instances") is None]
        if len(without) == len(infos):
            raise DataError(
                f"{self.ann_file} has no ground truth: set format_only=True and submission="
            )
        if without:
            raise DataError(
                f"{self.ann_file}: {len(without)} of {len(infos)} samples have no `instances`, "
                f"first {without[0]}; an empty list says that a sample has no objects, samples "
                "that nobody annotated must be taken out"
            )
        return infos

    def _predictions(
        self, results: Sequence[Mapping[str, Any]], infos: Sequence[Mapping[str, Any]]
    ) -> dict[str, list[dict[str, Any]]]:
        return {
            result["token"]: results_from_boxes(
                result["boxes"],
                result["scores"],
                result["labels"],
                token=result["token"],
                ego2global=info["ego2global"],
                classes=self.classes,
                attributes=self.attributes,
            )
            for result, info in zip(results, infos, strict=True)
        }

    def _depth_report(
        self, parts: Sequence[Mapping[str, DepthSums] | Mapping[str, TemporalDepthSums]]
    ) -> dict[str, Any] | None:
        total: dict[str, Any] = {}
        for part in parts:
            for name, sums in part.items():
                total.setdefault(name, type(sums)(self.depth_ranges)).merge(sums)
        return {name: sums.compute() for name, sums in total.items()} or None

    def _show(self, report: Mapping[str, Any]) -> None:
        parts = [detection_table(report)]
        parts += [depth_table(name, depth) for name, depth in (report["depth"] or {}).items()]
        over_time = report["depth_over_time"] or {}
        parts += [temporal_depth_table(name, depth) for name, depth in over_time.items()]
        parts += [map_table(report["map"])] if report["map"] else []
        parts += [f"Note: {note}" for note in report["notes"]]
        print_log("\n" + "\n\n".join(parts), logger="current")


def _working_cameras(sample: Mapping[str, Any]) -> list[str]:
    names = sample.get("cam_names", [])
    works = sample.get("camera_mask", np.ones((1, len(names)), dtype=bool))[0]
    return [name for name, works_now in zip(names, works, strict=True) if works_now]


def _layer_sums(sample: Mapping[str, Any]) -> LayerSums | None:
    if "gt_map" not in sample or "pred_map" not in sample:
        return None
    sums = LayerSums()
    sums.update(_on_cpu(sample["pred_map"]), sample["gt_map"].cpu().numpy(), sample["map_layers"])
    return sums


def _map_report(results: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    total = LayerSums()
    for result in results:
        if result["map"] is not None:
            total.merge(result["map"])
    return total.compute() or None


def _best_boxes(found: Any, token: str) -> dict[str, np.ndarray]:
    """Boxes ``[M, 7 or 9]`` by gravity centre, scores and labels of the best ``M <= 500``."""
    where = f"sample {token}: pred_instances_3d"
    boxes = _entry(found, "bboxes_3d", where)
    scores = _on_cpu(_entry(found, "scores_3d", where))
    labels = _entry(found, "labels_3d", where).cpu().numpy()
    numbers = _on_cpu(from_mmdet3d(boxes))
    best = np.argsort(-scores, kind="stable")[:MAX_BOXES_PER_SAMPLE]
    return {"boxes": numbers[best], "scores": scores[best], "labels": labels[best]}


def _on_cpu(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()


def _entry(container: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in container:
        raise KeyError(
            f"{where} has no '{key}': the model's predict() must return Det3DDataSamples with "
            "token in the metainfo and bboxes_3d, scores_3d, labels_3d in pred_instances_3d"
        )
    return container[key]


def _flatten(report: Mapping[str, Any]) -> dict[str, float]:
    """What mmengine logs: numbers under short names; undefined ones are left out."""
    flat = {"NDS": report["NDS"], "mAP": report["mAP"]}
    flat |= {_LOG_NAMES[error]: value for error, value in report["tp_errors"].items()}
    flat |= {f"AP/{name}": scores["ap"] for name, scores in report["per_class"].items()}
    for depth, scores in (report["depth"] or {}).items():
        flat |= {f"depth/{depth}/{k}": v for k, v in scores["overall"].items() if k != "count"}
    for depth, scores in (report["depth_over_time"] or {}).items():
        overall = scores["overall"]
        flat |= {f"depth_over_time/{depth}/{name}": overall[name] for name in TEMPORAL_METRIC_NAMES}
    flat |= {f"IoU/{name}": scores["iou"] for name, scores in (report["map"] or {}).items()}
    return {name: value for name, value in flat.items() if value is not None}
