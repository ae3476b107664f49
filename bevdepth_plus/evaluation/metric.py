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

from bevdepth_plus.datasets.classes import CLASSES
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.coverage import count_uncovered
from bevdepth_plus.evaluation.depth import DEFAULT_RANGES, DepthSums
from bevdepth_plus.evaluation.detection import evaluate_detections
from bevdepth_plus.evaluation.nuscenes_format import MAX_BOXES_PER_SAMPLE, results_from_boxes
from bevdepth_plus.evaluation.submission import write_json_atomically, write_submission
from bevdepth_plus.evaluation.tables import depth_table, detection_table

FEW_SCENES = 20  # below it, one scene's luck is visible in the mean
MANY_UNCOVERED = 0.05  # share of ground truth; cameras all around miss less than a tenth of that
_LOG_NAMES = {
    "trans_err": "mATE",
    "scale_err": "mASE",
    "orient_err": "mAOE",
    "vel_err": "mAVE",
    "attr_err": "mAAE",
}


@METRICS.register_module()
class NuScenesBEVMetric(BaseMetric):
    """NDS, mAP and depth errors of detections in the ego frame.

    Args:
        ann_file: info file of the evaluated split; samples that were not evaluated are left out.
        out_dir: folder for ``metrics.json``; None writes nothing.
        submission: path of the leaderboard's result file to write; None writes none.
        format_only: only write ``submission``, for splits without ground truth.
        class_range: one range in metres for all classes instead of the official ones.
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
        class_range: float | None = None,
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
        self.detection_options = {
            "class_range": class_range,
            "classes_present_only": classes_present_only,
            "min_lidar_points": min_lidar_points,
        }
        self.depth_ranges = depth_ranges

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]]) -> None:
        """Keep each sample's best boxes and the sums of its depths' errors, on the CPU.

        Depth is scored where a sample has ``gt_depth`` [N, H, W] (metres, 0 = unknown) and
        ``pred_depths``, a dict of maps of that shape: ``bin``, ``metric``, ``fused``, ...
        """
        for sample in data_samples:
            token = _entry(sample, "token", "a sample")
            found = _entry(sample, "pred_instances_3d", f"sample {token}")
            self.results.append(
                {
                    "token": token,
                    **_best_boxes(found, token),
                    "depth": self._depth_sums(sample),
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

        classes = _names_by_label(content["metainfo"]["categories"])
        report = evaluate_detections(predictions, infos, classes=classes, **self.detection_options)
        report["depth"] = self._depth_report(results)
        report["notes"] = self._notes(infos, content["metainfo"]) + _coverage_notes(results, infos)
        self._show(report)
        if self.out_dir is not None:
            write_json_atomically(report, self.out_dir / "metrics.json", indent=2)
        return _flatten(report)

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
        if not self.format_only and any("instances" not in info for info in infos):
            raise DataError(
                f"{self.ann_file} has no ground truth: set format_only=True and submission="
            )
        return infos

    def _predictions(
        self, results: Sequence[Mapping[str, Any]], infos: Sequence[Mapping[str, Any]]
    ) -> dict[str, list[dict[str, Any]]]:
        classes = (self.dataset_meta or {}).get("classes", CLASSES)
        return {
            result["token"]: results_from_boxes(
                result["boxes"],
                result["scores"],
                result["labels"],
                token=result["token"],
                ego2global=info["ego2global"],
                classes=classes,
            )
            for result, info in zip(results, infos, strict=True)
        }

    def _depth_report(self, results: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        total: dict[str, DepthSums] = {}
        for result in results:
            for name, part in result["depth"].items():
                total.setdefault(name, DepthSums(self.depth_ranges)).merge(part)
        return {name: sums.compute() for name, sums in total.items()} or None

    def _notes(self, infos: Sequence[Mapping[str, Any]], metainfo: Mapping[str, Any]) -> list[str]:
        scenes = {info["scene_token"] for info in infos if "scene_token" in info}
        notes = []
        if len(scenes) < FEW_SCENES:
            count, what = (len(scenes), "scene") if scenes else (len(infos), "sample")
            notes.append(
                f"scored on {count} {what}{'s' * (count != 1)} of "
                f"{metainfo.get('version', 'an unnamed version')}: numbers from so few mean "
                "little and do not compare with v1.0-trainval"
            )
        changed = {k: v for k, v in self.detection_options.items() if v not in (None, False)}
        if changed:
            options = ", ".join(f"{key}={value}" for key, value in changed.items())
            notes.append(f"not the official rules: {options}")
        return notes

    def _show(self, report: Mapping[str, Any]) -> None:
        parts = [detection_table(report)]
        parts += [depth_table(name, depth) for name, depth in (report["depth"] or {}).items()]
        parts += [f"Note: {note}" for note in report["notes"]]
        print_log("\n" + "\n\n".join(parts), logger="current")


def _working_cameras(sample: Mapping[str, Any]) -> list[str]:
    names = sample.get("cam_names", [])
    works = sample.get("camera_mask", np.ones((1, len(names)), dtype=bool))[0]
    return [name for name, works_now in zip(names, works, strict=True) if works_now]


def _coverage_notes(
    results: Sequence[Mapping[str, Any]], infos: Sequence[Mapping[str, Any]]
) -> list[str]:
    counts = [
        count_uncovered(info, result["cameras"])
        for result, info in zip(results, infos, strict=True)
        if result["cameras"]
    ]
    outside, total = np.sum(counts, axis=0) if counts else (0, 0)
    if outside <= MANY_UNCOVERED * total:
        return []
    return [
        f"{outside} of {total} ground-truth boxes have their centre in no camera's image; those "
        "in range count as missed"
    ]


def _best_boxes(found: Any, token: str) -> dict[str, np.ndarray]:
    """Boxes ``[M, 7 or 9]`` by gravity centre, scores and labels of the best ``M <= 500``."""
    where = f"sample {token}: pred_instances_3d"
    boxes = _entry(found, "bboxes_3d", where)
    scores = _on_cpu(_entry(found, "scores_3d", where))
    labels = _entry(found, "labels_3d", where).cpu().numpy()
    # LiDARInstance3DBoxes keep the bottom centre in their tensor.
    numbers = np.concatenate([_on_cpu(boxes.gravity_center), _on_cpu(boxes.tensor[:, 3:])], axis=1)
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


def _names_by_label(categories: Mapping[str, int]) -> list[str]:
    known = [name for name, label in categories.items() if label >= 0]  # -1: not to be scored
    return sorted(known, key=categories.__getitem__)


def _flatten(report: Mapping[str, Any]) -> dict[str, float]:
    """What mmengine logs: numbers under short names; undefined ones are left out."""
    flat = {"NDS": report["NDS"], "mAP": report["mAP"]}
    flat |= {_LOG_NAMES[error]: value for error, value in report["tp_errors"].items()}
    flat |= {f"AP/{name}": scores["ap"] for name, scores in report["per_class"].items()}
    for depth, scores in (report["depth"] or {}).items():
        flat |= {f"depth/{depth}/{k}": v for k, v in scores["overall"].items() if k != "count"}
    return {name: value for name, value in flat.items() if value is not None}
