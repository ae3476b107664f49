"""Losses and their gradients on recorded predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from bevdepth_plus.comparison import Comparison
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points
from bevdepth_plus.losses.descriptor_matching import descriptor_matching_loss
from bevdepth_plus.losses.pointmap import (
    confident_pointmap_loss,
    pointmap_errors,
    pointmap_loss,
)
from bevdepth_plus.pointmaps.parity.nested import compare_nested

_POINTS = ("pts3d", "pts3d_in_other_view")


def compare_losses(inputs: Mapping, expected: Mapping) -> dict[str, Comparison]:
    """Values and gradients.

    Left out: losses that are invariant to shift or scale, average precision, negatives drawn in
    blocks and quantiles of them, and the other kinds of InfoNCE.
    """
    actual = {name: _value_and_gradients(loss, inputs) for name, loss in _losses(inputs)}
    return compare_nested("pointmap_losses", actual, {name: expected[name] for name in actual})


def _losses(inputs: Mapping) -> Iterator[tuple[str, Callable[[Mapping], Tensor]]]:
    truth = _truth(inputs)
    sky = tuple(inputs[view]["sky_mask"] for view in ("gt1", "gt2"))
    metric = inputs["gt1"]["is_metric_scale"]

    def plain(**options) -> Callable[[Mapping], Tensor]:
        return lambda said: pointmap_loss(pointmap_errors(said["points"], *truth, **options))

    def confident(**options) -> Callable[[Mapping], Tensor]:
        return lambda said: confident_pointmap_loss(
            pointmap_errors(said["points"], *truth, **options), said["conf"]
        )

    for name, mode in (
        ("avg_dis", "mean"),
        ("avg_log1p", "log"),
        ("avg_warp-log1p", "log_warp"),
        ("median_dis", "median"),
        ("sqrt_dis", "sqrt"),
        ("norm_mode=None", None),
    ):
        yield f"dust3r.Regr3D(L21,{name})", plain(normalise=mode)
    yield "dust3r.Regr3D(L21,avg_dis,gt_scale=True)", plain(target_in_metres=True)
    in_metres = dict(metric=metric, target_in_metres=True)
    yield "mast3r.Regr3D(L21,?avg_dis,gt_scale=True,sky_loss_value=0)", plain(**in_metres)

    confidently = {
        "dust3r.ConfLoss(Regr3D(L21,avg_dis),0.2)": {},
        "dust3r.ConfLoss(Regr3D(L21,avg_dis,gt_scale=True),0.2)": dict(target_in_metres=True),
        "dust3r.ConfLoss(Regr3D(L21,avg_dis),0.2)|dist_clip=9": dict(max_distance=9),
        "mast3r.ConfLoss(Regr3D(L21,avg_dis),0.2)": dict(sky=sky),
    }
    for name, options in (
        ("?avg_dis),0.2)", {}),
        ("?avg_dis),0.2)|dist_clip=9", dict(max_distance=9)),
        ("?avg_dis,gt_scale=True),0.2)", dict(target_in_metres=True)),
        ("?avg_dis,max_metric_scale=10),0.2)", dict(max_metric_distance=10)),
        ("?avg_dis,loss_in_log=True),0.2)", dict(compress="both")),
        ("?avg_dis,loss_in_log=before),0.2)", dict(compress="target")),
    ):
        confidently[f"mast3r.ConfLoss(Regr3D(L21,{name}"] = dict(sky=sky, metric=metric, **options)
    for name, options in confidently.items():
        yield name, confident(**options)

    pixels = tuple(inputs[view]["corres"] for view in ("gt1", "gt2"))
    valid = inputs["gt1"]["valid_corres"]

    def matching(said: Mapping, confidence: tuple[Tensor, Tensor] | None = None) -> Tensor:
        return descriptor_matching_loss(said["desc"], pixels, valid, confidence)

    yield "mast3r.MatchingLoss(InfoNCE(proper,0.05))", matching
    yield (
        "mast3r.ConfMatchingLoss(MatchingLoss(InfoNCE(proper,0.05)),alpha=10,mean)",
        lambda said: matching(said, said["desc_conf"]),
    )
    released = confident(sky=sky, metric=metric)
    yield (
        "mast3r.total_released",
        lambda said: released(said) + 0.075 * matching(said, said["desc_conf"]),
    )


def _truth(inputs: Mapping) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """True points of both views in the frame of camera 1, and where they are valid."""
    cam1_T_world = invert_rigid(inputs["gt1"]["camera_pose"])
    views = (inputs["gt1"], inputs["gt2"])
    points = tuple(
        transform_points(cam1_T_world, view["pts3d"].flatten(1, 2)).view_as(view["pts3d"])
        for view in views
    )
    return points, tuple(view["valid_mask"] for view in views)


def _value_and_gradients(loss: Callable[[Mapping], Tensor], inputs: Mapping) -> dict:
    leaves = {
        view: {key: value.clone().requires_grad_() for key, value in inputs[view].items()}
        for view in ("pred1", "pred2")
    }
    said = {
        key: (leaves["pred1"][key], leaves["pred2"][key]) for key in ("conf", "desc", "desc_conf")
    }
    said["points"] = (leaves["pred1"][_POINTS[0]], leaves["pred2"][_POINTS[1]])
    value = loss(said)
    value.backward()
    gradients = {
        f"grad_{view}": {
            key: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            for key, leaf in named.items()
        }
        for view, named in leaves.items()
    }
    return {"loss": value.detach(), **gradients}
