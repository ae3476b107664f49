"""All checks of one info file, resumable: finished samples are kept in a file of JSON lines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from bevdepth_plus.checks.findings import Findings
from bevdepth_plus.checks.objects import check_objects
from bevdepth_plus.checks.scoring import check_scoring
from bevdepth_plus.checks.sensors import check_files
from bevdepth_plus.checks.times import check_times
from bevdepth_plus.datasets.ground_truth import names_by_label
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.geometry.bev_grid import BEVGrid

MOST_UNCONFIRMED = 0.3  # share of boxes that hold no point although the file counts some


def check_data(
    path: str | Path,
    folder_of: Callable[[str], str],
    *,
    every: int = 1,
    grid: BEVGrid | None = None,
    drop_not_finite: bool = False,
    kept: Path | None = None,
    progress: bool = True,
) -> Findings:
    """Looks at one info file and everything it names.

    Args:
        path: info file.
        folder_of: camera name, or ``pts`` for the LiDAR -> folder of its files.
        every: files of every so many samples are read; the info file is looked at as a whole.
        grid: a config's BEV grid.
        drop_not_finite: whether the config's LoadLidarPoints drops points that are not finite.
        kept: where finished samples are kept; an interrupted run goes on from there.
        progress: show a progress bar on the standard error stream.

    Raises:
        DataError: the info file cannot be used at all.
    """
    content = read_info_file(path)
    infos = content["data_list"]
    names = names_by_label(content["metainfo"]["categories"], f"{path}: metainfo.categories")
    findings = check_objects(infos, names, None if grid is None else grid.reach)
    findings.add(check_times(infos))
    chosen = infos[:: max(1, every)]
    digest = _digest(path, every, drop_not_finite)
    results = list(
        tqdm(
            _checked_samples(chosen, folder_of, kept, digest, drop_not_finite),
            total=len(chosen),
            desc="reading",
            unit="sample",
            disable=not progress,
        )
    )
    findings.add(summarise_files(results))
    labelled = [info for info in infos if info.get("instances") is not None]
    if labelled and not findings.problems:
        findings.add(check_scoring(labelled, names, None if grid is None else grid.half_size))
    if kept is not None:
        kept.unlink(missing_ok=True)
    return findings


def summarise_files(results: Sequence[Mapping[str, Any]]) -> Findings:
    """The results of ``check_files`` over all samples that were read."""
    findings = Findings(problems=[line for result in results for line in result["problems"]])
    cameras: dict[str, dict] = {}
    for result in results:
        for name, seen in result["cameras"].items():
            camera = cameras.setdefault(name, {"images": 0, "boxes": 0, "sizes": []})
            camera["images"] += 1
            camera["boxes"] += seen["boxes"]
            if seen["size"] not in camera["sizes"]:
                camera["sizes"].append(seen["size"])
    findings.numbers["cameras"] = cameras
    for name, camera in cameras.items():
        if not camera["boxes"]:
            findings.notes.append(f"camera {name} shows the centre of no box in any sample read")
    sweeps = [result["sweep"] for result in results if result["sweep"] is not None]
    asked, confirmed = (sum(sweep[key] for sweep in sweeps) for key in ("asked", "confirmed"))
    findings.numbers["sweeps"] = {
        "sweeps": len(sweeps),
        "median_points": float(np.median([s["points"] for s in sweeps])) if sweeps else None,
        "farthest_m": max((s["farthest"] for s in sweeps), default=None),
        "boxes_with_counted_points": asked,
        "of_them_hold_points": confirmed,
    }
    if not sweeps:
        findings.notes.append("no sample read has a LiDAR sweep: depth cannot be taught by LiDAR")
    if asked - confirmed > MOST_UNCONFIRMED * asked:
        findings.problems.append(
            f"{asked - confirmed} of {asked} boxes hold no LiDAR point although num_lidar_pts "
            "counts some: boxes and sweeps are in different frames (bbox_3d belongs in the LiDAR's)"
        )
    findings.numbers["seconds_a_sample"] = {
        part: float(np.mean([result["seconds"][part] for result in results]))
        for part in ("images", "sweep")
    }
    return findings


def _checked_samples(
    infos: Sequence[Mapping],
    folder_of: Callable[[str], str],
    kept: Path | None,
    digest: str,
    drop_not_finite: bool,
) -> Iterator[dict]:
    finished = _read_kept(kept, digest)
    if kept is not None and not finished:
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps({"digest": digest}) + "\n")
    for info in infos:
        result = finished.get(info["token"])
        if result is None:
            folders = {name: folder_of(name) for name in info["images"]}
            result = check_files(info, folders, folder_of("pts"), drop_not_finite)
            if kept is not None:
                with kept.open("a") as file:
                    file.write(json.dumps({"token": info["token"], **result}) + "\n")
        yield result


def _read_kept(kept: Path | None, digest: str) -> dict[str, dict]:
    """Finished samples by token; none if they are of another file, and no half-written line."""
    if kept is None or not kept.is_file():
        return {}
    head, *lines = kept.read_text().splitlines() or [""]
    if head != json.dumps({"digest": digest}):
        return {}
    results = {}
    for line in lines:
        try:
            result = json.loads(line)
        except json.JSONDecodeError:  # the run was killed while it wrote this one
            continue
        results[result["token"]] = result
    return results


def _digest(path: str | Path, every: int, drop_not_finite: bool) -> str:
    content = Path(path).read_bytes()
    salt = f"{every} {int(drop_not_finite)}".encode()[:16]
    return hashlib.blake2b(content, digest_size=16, salt=salt).hexdigest()
