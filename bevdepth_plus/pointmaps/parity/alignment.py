"""Global alignment of recorded pointmaps and matches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from bevdepth_plus.comparison import Comparison
from bevdepth_plus.geometry.rigid import invert_rigid
from bevdepth_plus.pointmaps.alignment_problem import AlignmentProblem, alignment_problem
from bevdepth_plus.pointmaps.canonical_views import CanonicalView, canonical_view
from bevdepth_plus.pointmaps.focal import estimate_focal
from bevdepth_plus.pointmaps.global_alignment import Alignment, Settings, Stage, align
from bevdepth_plus.pointmaps.matching import Matches
from bevdepth_plus.pointmaps.parity.nested import compare_nested
from bevdepth_plus.pointmaps.scene_parameters import Known, Scene

# 300 + 300 steps turn rounding noise into 3e-3: too much for one tolerance; a test has its own.
_VARIANTS = (
    "short_zero_iter",
    "short_coarse_only",
    "short_default",
    "short_mst",
    "short_no_opt_depth_no_opt_pp",
    "short_intrinsics_init",
)


def compare_alignment(
    inputs: Mapping, expected: Mapping, variants: tuple[str, ...] = _VARIANTS
) -> dict[str, Comparison]:
    """Poses are compared relative to the root camera's: where the world is, is arbitrary.

    Left out: what this project does on purpose another way (a shared parameter is stepped once,
    a frozen image keeps its pose in the world), the fallback for pairs without matches, and depth
    in eigenvectors or as exponents.
    """
    views, focals, problem = recorded_problem(inputs)
    actual: dict[str, object] = {
        "canonical": dict(_canonical(views, focals)),
        "pairwise_scores": problem.scores,
    }
    runs = {name: _run(problem, expected["variants"][name]) for name in variants}
    actual["variants"] = runs
    record = {
        "canonical": {
            name: {key: view[key] for key in actual["canonical"][name]}
            for name, view in expected["canonical"].items()
        },
        "pairwise_scores": expected["pairwise_scores"],
        "variants": {name: _results(expected["variants"][name]) for name in variants},
    }
    return compare_nested("alignment_small", actual, record)


def recorded_problem(inputs: Mapping) -> tuple[list[CanonicalView], Tensor, AlignmentProblem]:
    count = len(inputs["images"])
    views = []
    for i in range(count):
        pairs = [inputs["preds"][f"{i}|{j}"] for j in range(count) if j != i]
        points, confidence = (
            torch.stack([pair[key] for pair in pairs]) for key in ("pts3d1", "conf1")
        )
        views.append(canonical_view(points, confidence, block=inputs["subsample"]))
    focals = torch.cat(
        [estimate_focal(view.points[None], pixel_centre=0.0, robust=False)[0] for view in views]
    )
    matches = {}
    for i, first in enumerate(inputs["images"]):
        for j in range(i + 1, count):
            pair = inputs["matches"][f"{first}|{inputs['images'][j]}"]
            matches[i, j] = Matches(pair["xy1"], pair["xy2"], pair["conf"])
    return views, focals, alignment_problem(views, focals, matches, pixel_centre=0.0)


def settings_of(record: Mapping) -> tuple[Settings, Known]:
    """Our settings for those of the public code."""
    said = record["settings"]
    settings = Settings(
        coarse=Stage(said.get("niter1", 300), 0.07, 1.5),
        fine=Stage(said.get("niter2", 300), 0.01, 0.5),
        refine_depth=said.get("opt_depth", True),
        refine_principal_point=said.get("opt_pp", True),
        tree={"mst": "maximum"}.get(said.get("kinematic_mode"), "ward"),
        return_state_before_last_step=True,
    )
    return settings, _known(said.get("init", {}), record)


def _known(init: Mapping, record: Mapping) -> Known:
    if not init:
        return Known()
    count = len(record["focals"])
    intrinsics = torch.eye(3).repeat(count, 1, 1)
    sigma = torch.full((count,), torch.inf)
    for name, values in init.items():
        image = int(name.removeprefix("view").removesuffix(".png"))
        intrinsics[image] = values["intrinsics"]
        sigma[image] = 1e6  # a start, and no constraint
    return Known(intrinsics=intrinsics, focal_sigma=sigma)


def _canonical(views: list[CanonicalView], focals: Tensor) -> Iterator[tuple[str, dict]]:
    for i, view in enumerate(views):
        yield (
            f"view{i}.png",
            dict(
                canon=view.points,
                canon2=view.relative_depth,
                conf=view.confidence,
                core_depth=view.anchor_depth,
                focal=focals[i : i + 1],
            ),
        )


def _run(problem: AlignmentProblem, record: Mapping) -> dict:
    settings, known = settings_of(record)
    return _named(align(problem, known, settings), problem)


def _named(found: Alignment, problem: AlignmentProblem) -> dict:
    return {
        "losses": found.losses,
        "root": torch.tensor([found.root]),
        "coarse": _scene(found.coarse, found.root, problem),
        "fine": _scene(found.scene, found.root, problem),
    }


def _scene(scene: Scene, root: int, problem: AlignmentProblem) -> dict:
    return dict(
        intrinsics=scene.intrinsics,
        cam2root=invert_rigid(scene.world_T_cam[root]) @ scene.world_T_cam,
        depthmaps=list(scene.anchor_depth.split(problem.num_anchors)),
    )


def _results(record: Mapping) -> dict:
    """The part of a recorded run that does not depend on where the world is."""
    kept = ("intrinsics", "cam2root", "depthmaps")
    found = {
        stage: {key: record[stage][key] for key in kept}
        for stage in ("coarse", "fine")
        if record.get(stage)
    }
    found["root"] = torch.tensor([record["mst"][0]])
    if len(record["losses"]):
        found["losses"] = record["losses"]
    return found
