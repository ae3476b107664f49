"""Scenes, times and the chain of key frames."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from bevdepth_plus.checks.findings import Findings

EARLIEST, LATEST = 1e8, 4e9  # seconds since 1970: outside, a time counts from somewhere else


def check_times(infos: Sequence[Mapping]) -> Findings:
    """Whether the samples of each scene follow each other in time, and ``prev`` says so."""
    scenes: dict[str, list[Mapping]] = defaultdict(list)
    for info in infos:
        scenes[str(info.get("scene_token", ""))].append(info)
    steps = [
        step for samples in scenes.values() for step in np.diff([i["timestamp"] for i in samples])
    ]
    findings = Findings()
    findings.numbers["times"] = {
        "scenes": len(scenes),
        "samples": len(infos),
        "median_step_s": float(np.median(steps)) if steps else None,
        "longest_step_s": float(np.max(steps)) if steps else None,
    }
    if list(scenes) == [""] and len(infos) > 1:
        findings.notes.append("no sample names its scene (scene_token): counted as one scene")
    findings.problems += _chain_problems(infos)
    odd = [i["token"] for i in infos if not EARLIEST < i["timestamp"] < LATEST]
    if odd:
        findings.notes.append(
            f"{len(odd)} of {len(infos)} times are no seconds since 1970, first sample {odd[0]}"
        )
    if not any(info.get("prev") for info in infos):
        findings.notes.append("no sample names its past (prev): models of one frame only")
    return findings


def _chain_problems(infos: Sequence[Mapping]) -> list[str]:
    of_token = {info["token"]: info for info in infos}
    problems = []
    for info in infos:
        past = of_token.get(info.get("prev"))
        if past is None:
            continue
        gap = info["timestamp"] - past["timestamp"]
        if past.get("scene_token") != info.get("scene_token"):
            problems.append(f"sample {info['token']}: prev is of another scene")
        elif gap <= 0:
            problems.append(f"sample {info['token']}: prev is {-gap:.3f} s later, not earlier")
    return problems
