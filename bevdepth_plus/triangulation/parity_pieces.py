"""Parity of the pieces without a network: look-up, epipolar strips, soft-argmax, triangulation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from bevdepth_plus.geometry.pinhole import unproject
from bevdepth_plus.geometry.triangulation import (
    dehomogenise,
    projection_matrices,
    triangulate_svd,
)
from bevdepth_plus.triangulation.deltas_compat import (
    DeltasEpipolarMatcher,
    patch_products,
    sample_beside,
    soft_argmax,
    unclipped_strips,
)
from bevdepth_plus.triangulation.parity_checks import (
    Check,
    Record,
    distances,
    gradient,
    pixels,
    relative,
    same,
)

_STRIDE = 8
# float32 beside a condition number of 2100: 1 mm of baseline.
_TINY_BASELINE = 2e-3
# At a centimetre it is 137.
POINTS = 5e-5


def check_descriptors(record: Record, case: str) -> Iterator[Check]:
    if case.startswith("coordmap"):
        yield pixels("sampled_at", _sampled_at(record["keypoints"], case), record["sampled_at"])
        return
    stride = int(case[1]) if case.startswith("s") else _STRIDE
    options = dict(align_corners="_ac1" in case, normalise="_norm0" not in case)
    descriptors = record["desc"].clone().requires_grad_()
    found = sample_beside(descriptors, record["keypoints"], stride, **options)
    yield relative("out", found.reshape(record["out"].shape), record["out"])
    if "grad_out" in record:
        (found.reshape(record["out"].shape) * record["grad_out"]).sum().backward()
        yield gradient("grad_desc", descriptors.grad, record["grad_desc"])


def _sampled_at(keypoints: Tensor, case: str) -> Tensor:
    """Where the formula looks: sampled from a map of coordinates, in pixels, ``[P, 2]``."""
    size = 240, 320
    rows, columns = (torch.arange(side // _STRIDE) * _STRIDE + _STRIDE / 2 - 0.5 for side in size)
    maps = torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]  # [1, 2, h, w]
    options = dict(align_corners=case.endswith("ac1"), normalise=False)
    return sample_beside(maps, keypoints, _STRIDE, **options)[0].T


def check_epipolar(record: Record, case: str) -> Iterator[Check]:
    sources = record["pose"].shape[1]
    intrinsics = record["K"][:, None].expand(-1, sources, -1, -1)
    for which, margin in (("roi_patch_ac1", 0.0), ("roi_patch_ac0", 0.5)):
        strips = unclipped_strips(
            record["keypoints"],
            record["K"],
            intrinsics,
            record["pose"],
            _size(record),
            (record["d_min"].item(), record["d_max"].item()),
            margin,
        )
        centre, length = record[which][..., :2], record[which][..., 3]
        yield pixels(f"{which} centre", strips.start + strips.along / 2, centre)
        yield pixels(f"{which} length", strips.length, length)
    for name, samples, rows, step in (("samples_L100_d1", 100, 1, 6), ("samples_L16_d0", 16, 0, 1)):
        recorded = record[name]
        found = strips.sample(samples, rows)[:, :, ::step]
        # A line has two directions; the public code's depends on the sign of its matrix.
        turned = found.flip((-3, -2))
        away, back = ((f - recorded).abs().amax((-3, -2, -1)) for f in (found, turned))
        found = torch.where((away <= back)[..., None, None, None], found, turned)
        yield pixels(name, found, recorded)
    patches = DeltasEpipolarMatcher(kernel_size=3).patches(record["keypoints"], strips)
    yield pixels("anchor_samples_k3", patches, record["anchor_samples_k3"])


def check_soft_argmax(record: Record, case: str) -> Iterator[Check]:
    if case.startswith("match_corr"):
        own, found = (record[name].clone().requires_grad_() for name in ("ref", "search"))
        # One view and sample; its points are the record's.
        out = patch_products(own.transpose(0, 1)[None, None], found.transpose(0, 1)[None, None])
        out = out[0, 0][:, None]
        yield relative("out", out, record["out"])
        (out * record["grad_out"]).sum().backward()
        yield gradient("grad_ref", own.grad, record["grad_ref"])
        yield gradient("grad_search", found.grad, record["grad_search"])
        return
    scores = record["map"].clone().requires_grad_()
    out = soft_argmax(scores, "relu" if case.startswith("relu") else "softmax")
    yield pixels("out", out, record["out"])
    (out * record["grad_out"]).sum().backward()
    yield gradient("grad_map", scores.grad, record["grad_map"])


def check_triangulation(record: Record, case: str) -> Iterator[Check]:
    if case == "unproject":
        keypoints, z = record["keypoints"], record["z"].flatten(1)
        found = unproject(keypoints, z, record["K"]).transpose(1, 2)
        yield relative("out", found, record["out"])
        return
    if case == "homog":
        yield relative("out", dehomogenise(record["in"]), record["out"])
        return
    if case in ("at_infinity", "zero_baseline_noise0"):
        # The first is recorded as NaN, and every point of the ray is a solution of the second.
        found = triangulate_svd(record["proj"], record["points"])
        yield same("not finite", ~found.isfinite(), torch.zeros_like(found, dtype=torch.bool))
        return
    tolerance = _TINY_BASELINE if case.startswith("tiny_baseline") else POINTS
    points, confidence = record["points"], record["conf"]
    found = triangulate_svd(record["proj"], points, confidence.T)
    yield distances("out", found, record["out"], tolerance)
    if "out_noconf" in record:
        alone = triangulate_svd(record["proj"], points)
        yield distances("out_noconf", alone, record["out_noconf"], tolerance)
    if "grad_out" not in record:
        return
    projections = record["proj"].double()
    points, confidence = (t.double().requires_grad_() for t in (points, confidence))
    (triangulate_svd(projections, points, confidence.T) * record["grad_out"]).sum().backward()
    yield gradient("grad_points", points.grad, record["grad_points_f64"])
    if case.endswith("noise5"):  # without noise, confidence changes nothing
        yield gradient("grad_conf", confidence.grad, record["grad_conf_f64"])


def check_trinet(record: Record, case: str) -> Iterator[Check]:
    def setting(name: str, default: int) -> int:
        return int(record[f"cfg_{name}"]) if f"cfg_{name}" in record else default

    matcher = DeltasEpipolarMatcher(
        samples=setting("out_length", 100),
        rows=setting("dist_ortogonal", 1),
        kernel_size=setting("kernel_size", 1),
        align_corners=bool(setting("align_corners", 0)),
    )
    training = case.endswith("train")
    state = {f"{name}": record[f"bn_{name}"] for name in ("weight", "bias")}
    if not training:  # after the step, otherwise
        state |= {name: record[f"bn_{name}"] for name in ("running_mean", "running_var")}
    matcher.norm.load_state_dict(state, strict=False)
    matcher.train(training)

    sources = record["pose"].shape[1]
    descriptors, others = (record[n].clone().requires_grad_() for n in ("desc", "desc_views"))
    intrinsics = record["K"][:, None].expand(-1, sources + 1, -1, -1)
    geometry = (record["keypoints"], record["K"], intrinsics[:, 1:], record["pose"])
    matches = matcher(descriptors, others, *geometry, _size(record), (0.5, 10.0))
    yield pixels("multiview_matches", matches.pixels, record["multiview_matches"])
    yield same("range_kp", matches.usable, record["range_kp"])

    confidence = None
    if setting("has_confidence", 1):
        own = torch.ones_like(matches.confidence[:, :1])
        confidence = torch.cat([own, matches.confidence], dim=1)
        yield relative("confidence", confidence.transpose(1, 2), record["confidence"])
    anchor = torch.eye(4).expand(len(intrinsics), 1, 4, 4)
    projections = projection_matrices(intrinsics, torch.cat([anchor, record["pose"]], dim=1))
    seen = torch.cat([record["keypoints"][:, None], matches.pixels], dim=1)
    xyz = triangulate_svd(projections, seen, confidence)
    # A point that no view has in range is a guess of the SVD from what is left.
    good = record["range_kp"].any(1)
    yield distances("keypoints_3d", xyz[good], record["keypoints_3d"][good], POINTS)

    loss = (xyz * record["grad_w_xyz"]).sum()
    loss = loss + 0.1 * (matches.pixels * record["grad_w_matches"]).sum()
    if confidence is not None:
        loss = loss + (confidence.transpose(1, 2) * record["grad_w_conf"]).sum()
    loss.backward()
    yield gradient("grad_desc", descriptors.grad, record["grad_desc"])
    yield gradient("grad_desc_views", others.grad, record["grad_desc_views"])
    scale, shift = matcher.norm.weight.grad, matcher.norm.bias.grad
    yield gradient("grad_bn_weight", scale, record["grad_bn_weight"])
    # A softmax does not feel a shift: what is left of this gradient is a sum that cancels, so it
    # is held beside the other one.
    both = torch.cat([scale, shift]), torch.cat([record["grad_bn_weight"], record["grad_bn_bias"]])
    yield gradient("grad_bn", *both)
    if training:
        yield relative("running_mean", matcher.norm.running_mean, record["bn_running_mean"])
        yield relative("running_var", matcher.norm.running_var, record["bn_running_var"])


def _size(record: Record) -> tuple[int, int]:
    _, _, height, width = record["img_shape"].tolist()
    return height, width


PIECE_CHECKERS = {
    "deltas_descriptors.pth": check_descriptors,
    "deltas_epipolar.pth": check_epipolar,
    "deltas_softargmax.pth": check_soft_argmax,
    "deltas_triangulate.pth": check_triangulation,
    "deltas_trinet.pth": check_trinet,
}
