"""What a detection is scored by: the devkit's rules, for any class names and ranges.

The devkit's own ``DetectionConfig`` takes exactly the ten classes of its challenge; its scoring
functions do not care what a class is called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from nuscenes.eval.detection.config import config_factory

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.errors import DataError

OFFICIAL = "detection_cvpr_2019"  # the devkit's configuration of the detection challenge


@dataclass(frozen=True)
class ScoringRules:
    """The devkit's ``DetectionConfig`` without its list of classes.

    Attributes:
        class_range: class name -> farthest ground distance from the ego vehicle, metres.
        dist_fcn_callable: distance of two boxes by which they match.
        dist_ths: distances within which a detection counts as right, metres.
        dist_th_tp: the one of them at which the errors of right detections are taken, metres.
        min_recall, min_precision: below them nothing counts.
        max_boxes_per_sample: more predictions are refused.
        mean_ap_weight: of mAP against each of the five errors in NDS.
    """

    class_range: Mapping[str, float]
    dist_fcn_callable: Callable
    dist_ths: Sequence[float]
    dist_th_tp: float
    min_recall: float
    min_precision: float
    max_boxes_per_sample: int
    mean_ap_weight: int

    @property
    def class_names(self) -> list[str]:
        return list(self.class_range)


def scoring_rules(
    classes: Sequence[str] = CLASSES,
    class_range: float | Mapping[str, float] | None = None,
    default_range: float | None = None,
    config: str = OFFICIAL,
) -> ScoringRules:
    """The rules of a devkit configuration for some classes.

    Args:
        classes: names of the classes to score.
        class_range: metres; one number for all classes, or numbers by name for some of them.
        default_range: metres, for the other classes, if some class is not one of the challenge's.
            Classes of the challenge alone have the configuration's own ranges.
        config: name of a devkit detection configuration.

    Raises:
        DataError: a class has no range, a range is not above 0, or ``class_range`` names a class
            that is not scored.
    """
    official = config_factory(config)
    return ScoringRules(
        class_range=_ranges(classes, class_range, default_range, official.class_range),
        dist_fcn_callable=official.dist_fcn_callable,
        dist_ths=official.dist_ths,
        dist_th_tp=official.dist_th_tp,
        min_recall=official.min_recall,
        min_precision=official.min_precision,
        max_boxes_per_sample=official.max_boxes_per_sample,
        mean_ap_weight=official.mean_ap_weight,
    )


def _ranges(
    classes: Sequence[str],
    class_range: float | Mapping[str, float] | None,
    default_range: float | None,
    official: Mapping[str, float],
) -> dict[str, float]:
    if set(classes) <= set(official):
        ranges = {name: official[name] for name in classes}
    else:
        ranges = dict.fromkeys(classes, default_range)
    if isinstance(class_range, Mapping):
        _require_scored(class_range, classes)
        ranges |= class_range
    elif class_range is not None:
        ranges = dict.fromkeys(classes, class_range)
    for name, metres in ranges.items():
        if metres is None:
            raise DataError(
                f"no evaluation range is known for class {name!r}: give the evaluator "
                f"class_range=dict({name}=50.0), in metres, or the model's grid"
            )
        if not metres > 0:
            raise DataError(f"class_range of {name!r} must be above 0 m, got {metres}")
    return ranges


def _require_scored(names: Mapping[str, float], classes: Sequence[str]) -> None:
    for name in names:
        if name not in classes:
            near = get_close_matches(name, classes, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"scored are {', '.join(classes)}"
            raise DataError(f"class_range names {name!r}, which is not scored; {hint}")
