"""The result file for the nuScenes detection leaderboard: writing it, and checking it.

The rules are those of https://www.nuscenes.org/object-detection (submission format).
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nuscenes.eval.detection.constants import DETECTION_NAMES
from nuscenes.eval.detection.utils import detection_name_to_rel_attributes
from nuscenes.utils.splits import create_splits_scenes

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.nuscenes_format import MAX_BOXES_PER_SAMPLE
from bevdepth_plus.files import write_json

CAMERA_ONLY_META = {
    "use_camera": True,
    "use_lidar": False,
    "use_radar": False,
    "use_map": False,
    "use_external": False,
}
_NUMBERS = {"translation": 3, "size": 3, "rotation": 4, "velocity": 2}
_UNIT_TOLERANCE = 1e-3


def write_submission(
    results: Mapping[str, Sequence[Mapping[str, Any]]],
    path: str | os.PathLike,
    meta: Mapping[str, bool] = CAMERA_ONLY_META,
) -> Path:
    """Write ``{meta, results}``; a broken-off run leaves no half-written file."""
    write_json(path, {"meta": dict(meta), "results": dict(results)})
    return Path(path)


def read_submission(path: str | os.PathLike) -> Any:
    """The content of a result file, JSON or a zip archive with one JSON file in it.

    Raises:
        ValueError: it is neither, or the archive holds another number of files.
    """
    content = Path(path).read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
            if len(names) != 1 or not names[0].endswith(".json"):
                raise ValueError(
                    f"the archive must hold one .json file, got {', '.join(names) or 'nothing'}"
                )
            content = archive.read(names[0])
    try:
        return json.loads(content)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not JSON: {error}") from None


def check_submission(submission: Any, tokens: Collection[str]) -> list[str]:
    """Everything the server would refuse, one line a problem; an empty list is a valid file.

    Args:
        submission: the parsed result file.
        tokens: the sample tokens of the split, all of which must be there.
    """
    if not isinstance(submission, Mapping):
        return [f"the file must hold an object with meta and results, got {_kind(submission)}"]
    problems = list(_meta_problems(submission.get("meta")))
    results = submission.get("results")
    if not isinstance(results, Mapping):
        return [*problems, f"results must be an object of sample tokens, got {_kind(results)}"]
    problems += _token_problems(results, tokens)
    for token, boxes in results.items():
        problems += _sample_problems(token, boxes)
    return problems


def tokens_of_infos(path: str | os.PathLike) -> list[str]:
    """Sample tokens of an info file."""
    return [info["token"] for info in read_info_file(path)["data_list"]]


def tokens_of_split(dataroot: str | os.PathLike, version: str, split: str) -> list[str]:
    """Sample tokens of a split from the data set's own tables (scene and sample alone)."""
    splits = create_splits_scenes()
    if split not in splits:
        raise DataError(f"unknown split {split!r}; known are {', '.join(sorted(splits))}")
    scenes = _read_table(Path(dataroot), version, "scene")
    chosen = {scene["token"] for scene in scenes if scene["name"] in set(splits[split])}
    samples = _read_table(Path(dataroot), version, "sample")
    tokens = [sample["token"] for sample in samples if sample["scene_token"] in chosen]
    if not tokens:
        raise DataError(f"{dataroot}/{version} has no sample of the split {split!r}")
    return tokens


def _read_table(dataroot: Path, version: str, name: str) -> list[dict[str, Any]]:
    path = dataroot / version / f"{name}.json"
    if not path.is_file():
        raise DataError(f"{path} is missing; is {dataroot} the root of a {version} data set?")
    return json.loads(path.read_text())


def _meta_problems(meta: Any) -> Iterator[str]:
    if not isinstance(meta, Mapping):
        yield f"meta must be an object of the five use_* flags, got {_kind(meta)}"
        return
    for flag in CAMERA_ONLY_META:
        if flag not in meta:
            yield f"meta: {flag} is missing"
        elif not isinstance(meta[flag], bool):
            yield f"meta: {flag} must be true or false, got {meta[flag]!r}"


def _token_problems(results: Mapping[str, Any], tokens: Collection[str]) -> Iterator[str]:
    expected = set(tokens)
    for token in sorted(expected - set(results)):
        yield f"sample {token}: missing (an empty list says that nothing was found)"
    for token in sorted(set(results) - expected):
        yield f"sample {token}: not in this split"


def _sample_problems(token: str, boxes: Any) -> Iterator[str]:
    if not isinstance(boxes, Sequence) or isinstance(boxes, str):
        yield f"sample {token}: must be a list of boxes, got {_kind(boxes)}"
        return
    if len(boxes) > MAX_BOXES_PER_SAMPLE:
        yield f"sample {token}: {len(boxes)} boxes, at most {MAX_BOXES_PER_SAMPLE} are allowed"
    for index, box in enumerate(boxes):
        where = f"sample {token} box {index}"
        if not isinstance(box, Mapping):
            yield f"{where}: must be an object, got {_kind(box)}"
            continue
        if box.get("sample_token") != token:
            yield f"{where}: sample_token is {box.get('sample_token')!r}"
        yield from (f"{where}: {problem}" for problem in _number_problems(box))
        yield from (f"{where}: {problem}" for problem in _name_problems(box))


def _number_problems(box: Mapping[str, Any]) -> Iterator[str]:
    score = box.get("detection_score")
    if not _is_number(score):
        yield f"detection_score must be a finite number, got {score!r}"
    for field, length in _NUMBERS.items():
        value = box.get(field)
        numbers = isinstance(value, Sequence) and len(value) == length
        if not (numbers and all(_is_number(number) for number in value)):
            yield f"{field} must be {length} finite numbers, got {value!r}"
        elif field == "size" and min(value) <= 0:
            yield f"size must be above 0, got {value!r}"
        elif field == "rotation" and abs(math.hypot(*value) - 1) > _UNIT_TOLERANCE:
            yield f"rotation must be a unit quaternion, got {value!r}"


def _name_problems(box: Mapping[str, Any]) -> Iterator[str]:
    name, attribute = box.get("detection_name"), box.get("attribute_name")
    if name not in DETECTION_NAMES:
        yield f"unknown detection_name {name!r}"
    elif attribute != "" and attribute not in detection_name_to_rel_attributes(name):
        yield f"attribute_name {attribute!r} does not belong to {name}"


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
