"""Canonical views and focal lengths on recorded pointmaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from bevdepth_plus.comparison import Comparison
from bevdepth_plus.pointmaps.canonical_views import canonical_view
from bevdepth_plus.pointmaps.focal import estimate_focal
from bevdepth_plus.pointmaps.parity.nested import compare_nested


def compare_canonical(inputs: Mapping, expected: Mapping) -> dict[str, Comparison]:
    """Left out: what masks do to the public code, which is not finite on purpose."""
    actual = dict(_views(inputs))
    focals = expected["focal_inputs"]
    actual["focal"] = {name: _focal(name, focals) for name in expected["focal"]}
    return compare_nested("canonical", actual, {name: expected[name] for name in actual})


def _views(inputs: Mapping) -> Iterator[tuple[str, object]]:
    points, confidence = inputs["ptmaps11"], inputs["confs11"]
    for block in (8, 4):
        for name, average in (("avg-angle", "angle"), ("avg-reldepth", "ratio")):
            view = canonical_view(points, confidence, block=block, average=average)
            yield f"canonical_view.{name}.sub{block}", _named(view)
            if average == "angle":
                found = {key: view.offsets(at) for key, at in inputs["pixels"].items()}
                yield (
                    f"anchor_depth_offsets.sub{block}",
                    {
                        "core_idxs": {key: value[0] for key, value in found.items()},
                        "core_offs": {key: value[1] for key, value in found.items()},
                    },
                )
    yield "canonical_view.single_pair", _named(canonical_view(points[:1], confidence[:1]))


def _named(view) -> dict[str, Tensor]:
    return dict(canon=view.points, canon2=view.relative_depth, conf=view.confidence)


def _focal(name: str, recorded: Mapping) -> Tensor:
    """The name says it all: "pointmap|method|minA|maxB"."""
    which, method, lowest, highest = name.split("|")
    points = recorded["clean" if which.startswith("pp_") else which]
    centre = {"pp_off": "pp_off", "batch2": "pp_batch2"}.get(which, "pp_centre")
    limits = (float(lowest.removeprefix("min")), float(highest.removeprefix("max")))
    return estimate_focal(
        points,
        principal_point=recorded[centre],
        method=method,
        limits=limits,
        pixel_centre=0.0,
        robust=False,
    )[0]
