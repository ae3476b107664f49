"""Ground truth handed in as prediction must score 1.0: else the file contradicts itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bevdepth_plus.checks.findings import Findings
from bevdepth_plus.evaluation.detection import evaluate_detections, predictions_from_ground_truth

DEFAULT_RANGE = 51.2  # metres, half the side of the official BEV grid


def check_scoring(
    infos: Sequence[Mapping], names: Mapping[int, str], half_size: float | None = None
) -> Findings:
    """Scores of a perfect detector over the classes present.

    Args:
        infos: samples with ``instances``.
        names: label in the file -> class name.
        half_size: of the config's BEV grid, metres.
    """
    classes = list(names.values())
    options = dict(classes=classes, label_names=names)
    scores = evaluate_detections(
        predictions_from_ground_truth(infos, **options),
        infos,
        default_range=half_size or DEFAULT_RANGE,
        classes_present_only=True,
        **options,
    )
    findings = Findings(numbers={"self_test": {key: scores[key] for key in ("mAP", "NDS")}})
    if scores["mAP"] is None:
        findings.notes.append("no object is in the evaluation ranges: nothing would be scored")
    elif scores["mAP"] < 1 - 1e-6:
        findings.problems.append(
            f"ground truth as prediction scores mAP {scores['mAP']:.3f}, not 1.0: boxes of one "
            "class lie on each other, or the boxes contradict the poses"
        )
    return findings
