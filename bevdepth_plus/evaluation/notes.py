"""What a reader of the scores must know, a line each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.evaluation.coverage import count_outside, count_uncovered
from bevdepth_plus.geometry.bev_grid import BEVGrid

FEW_SCENES = 20  # below it, one scene's luck is visible in the mean
MANY = 0.05  # share of ground truth; cameras all around miss less than a tenth of that


def notes_on(
    report: Mapping[str, Any],
    infos: Sequence[Mapping[str, Any]],
    content: Mapping[str, Any],
    *,
    options: Mapping[str, Any],
    cameras: Mapping[str, Collection[str]],
    grid: BEVGrid | None,
) -> list[str]:
    """Notes on the scores of some samples.

    Args:
        report: of ``evaluate_detections``.
        infos: the evaluated samples.
        content: the info file they are from.
        options: of ``evaluate_detections``, as far as they leave the official rules.
        cameras: sample token -> names of the cameras that the detector had.
        grid: the detector's, or None.
    """
    return [
        *_scenes(infos, content["metainfo"]),
        *_left_out(infos, content["data_list"]),
        *_rules(report["per_class"], options),
        *_absent(report, options),
        *_coverage(infos, cameras),
        *_outside(infos, report["per_class"], grid),
    ]


def _scenes(infos: Sequence[Mapping], metainfo: Mapping[str, Any]) -> Iterator[str]:
    scenes = {info["scene_token"] for info in infos if "scene_token" in info}
    if len(scenes) < FEW_SCENES:
        count, what = (len(scenes), "scene") if scenes else (len(infos), "sample")
        yield (
            f"scored on {count} {what}{'s' * (count != 1)} of "
            f"{metainfo.get('version', 'an unnamed version')}: numbers from so few mean "
            "little and do not compare with v1.0-trainval"
        )


def _left_out(infos: Sequence[Mapping], everything: Sequence[Mapping]) -> Iterator[str]:
    if len(infos) < len(everything):
        yield f"scored on {len(infos)} of the file's {len(everything)} samples"


def _rules(per_class: Mapping[str, Mapping], options: Mapping[str, Any]) -> Iterator[str]:
    changed = {k: v for k, v in options.items() if v not in (None, False)}
    if changed:
        named = ", ".join(f"{key}={value}" for key, value in changed.items())
        yield f"not the official rules: {named}"
    own = [name for name in per_class if name not in CLASSES]
    if own:
        ranges = ", ".join(f"{name} {per_class[name]['range']:g} m" for name in per_class)
        yield f"not nuScenes' classes ({', '.join(own)}): evaluation ranges are {ranges}"


def _absent(report: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    empty = [name for name, c in report["per_class"].items() if not c["num_ground_truth"]]
    if empty and not options["classes_present_only"]:
        yield (
            f"no ground truth of {', '.join(empty)} in range: AP 0 in the mean "
            "(classes_present_only=True leaves them out)"
        )
    for error, value in report["tp_errors"].items():
        if value is None and report["NDS"] is not None:
            yield f"{error} is undefined for all classes and counts as 1: NDS is at most 0.9 by it"


def _coverage(infos: Sequence[Mapping], cameras: Mapping[str, Collection[str]]) -> Iterator[str]:
    counts = [count_uncovered(i, cameras[i["token"]]) for i in infos if cameras.get(i["token"])]
    outside, total = np.sum(counts, axis=0) if counts else (0, 0)
    if outside > MANY * total:
        yield (
            f"{outside} of {total} ground-truth boxes have their centre in no camera's image; "
            "those in range count as missed"
        )


def _outside(
    infos: Sequence[Mapping], per_class: Mapping[str, Mapping], grid: BEVGrid | None
) -> Iterator[str]:
    if grid is None or not per_class:
        return
    reach = max(scores["range"] for scores in per_class.values())
    outside, total = np.sum([count_outside(info, grid, reach) for info in infos], axis=0)
    if outside > MANY * total:
        yield (
            f"{outside} of {total} ground-truth boxes within {reach:g} m have their centre outside "
            "the BEV grid and count as missed"
        )
