"""Parity of what has weights: keypoints, blocks, the three networks, and all of it end to end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from bevdepth_plus.triangulation.checkpoints import PARTS, convert_part, load_part
from bevdepth_plus.triangulation.deltas_compat import normalise_images
from bevdepth_plus.triangulation.densify import DepthDensifier, sparse_depth_map
from bevdepth_plus.triangulation.encoder import PyramidEncoder
from bevdepth_plus.triangulation.keypoints import (
    InterestPointNetwork,
    Keypoints,
    score_map,
    select_keypoints,
    suppress_neighbours,
)
from bevdepth_plus.triangulation.network import deltas_network
from bevdepth_plus.triangulation.parity_checks import (
    Check,
    Checker,
    Record,
    distances,
    drawn_weights,
    gradient,
    pixels,
    relative,
    same,
)
from bevdepth_plus.triangulation.points import Views
from bevdepth_plus.triangulation.up_projection import DenseASPP, UpProjection, unpool

# Of values after up to 70 layers of float32, beside the largest.
DEEP = 1e-3
# Of gradients through them: where a value lies within rounding of 0, ReLU passes all or nothing.
# In supernet/eval one lies 6e-8 of its layer's rms from 0. Our float32 and float64 gradients agree
# to 1e-6 there; the record differs by 1.3e-2, in the one region of the image which that value sees.
THROUGH = 3e-2
Shapes = Mapping[str, Mapping[str, Mapping]]  # part -> official name -> {"shape": ...}
_PREFIXES = {"state_dict": "super.", "state_dict_tri": "tri.", "state_dict_depth": "depth."}


def check_keypoints(record: Record, case: str) -> Iterator[Check]:
    scores = score_map(record["logits"])
    if "heatmap" in record:
        yield relative("heatmap", scores, record["heatmap"])
    radius = int(record["cfg_nms_radius"])
    if "nms" in record:
        yield relative("nms", suppress_neighbours(scores, radius), record["nms"])
    found = select_keypoints(
        scores,
        int(record["cfg_top"]),
        record["cfg_frac"].item(),
        record["cfg_thr"].item(),
        radius,
        int(record["cfg_rb"]),
        pixel_centre=0.0,
    )
    count = int(record["n_detected"].max())  # the others are random
    yield pixels("keypoints_xy", found.pixels[:, :count], record["keypoints_xy"][:, :count])
    yield relative("scores", found.scores[:, :count], record["scores"][:, :count])
    yield same("n_detected", found.detected.sum(1), record["n_detected"])


def check_blocks(record: Record, case: str) -> Iterator[Check]:
    if case == "unpool":
        source = record["in"]
        size = (2 * source.shape[-2], 2 * source.shape[-1])
        yield relative("out", unpool(source, size, "zeros"), record["out"])
        return
    if case == "s2d_encoder_recipe":
        encoder = PyramidEncoder(50, 1, base_channels=16)
        shapes = {name.removeprefix("resnet."): t.shape for name, t in encoder.state_dict().items()}
        encoder.resnet.load_state_dict(drawn_weights("s2d_encoder.", shapes))
        with torch.no_grad():
            yield relative("out", encoder.eval()(record["in"])[-1], record["out"], DEEP)
        return
    if not case.startswith(("upproj", "aspp")):  # the ResNet's block is mmdet's
        return
    block = _block(record, case).train(case.endswith("train"))
    inputs = [record["in0"].clone().requires_grad_()]
    if "in1" in record:
        inputs.append(record["in1"].clone().requires_grad_())
    if case.startswith("upproj_"):
        out = block(*inputs, size=record["out"].shape[-2:])
    else:
        out = block(*inputs)
    yield relative("out", out, record["out"])
    (out * record["grad_out"]).sum().backward()
    for index, source in enumerate(inputs):
        yield gradient(f"grad_in{index}", source.grad, record[f"grad_in{index}"])
    recorded = _renamed({n[5:]: t for n, t in record.items() if n.startswith("grad.")}, case)
    for name, parameter in block.named_parameters():
        yield gradient(f"grad {name}", parameter.grad, recorded[name])
    after = _renamed({n[6:]: t for n, t in record.items() if n.startswith("after.")}, case)
    for name, tensor in after.items():
        yield relative(f"after {name}", block.state_dict()[name], tensor)


def _block(record: Record, case: str) -> nn.Module:
    state = {name[3:]: t for name, t in record.items() if name.startswith("sd.")}
    channels = record["in0"].shape[1]
    if case.startswith("aspp"):
        block: nn.Module = DenseASPP(channels, len(state["daspp_1.bn2.weight"]))
    else:
        skip = record["in1"].shape[1] if "in1" in record else 0
        kernel = state["conv1.weight"].shape[-1]
        mode = "bilinear" if kernel == 1 else "deltas" if skip else "zeros"
        block = UpProjection(channels, record["out"].shape[1], skip, kernel, mode)
    block.load_state_dict(_renamed(state, case))
    return block


def _renamed(state: Mapping[str, Tensor], case: str) -> dict[str, Tensor]:
    """A block's names as in the whole network's, with ours for them."""
    official = "ASPP." if case.startswith("aspp") else "gud_up_proj_layer1."
    ours = "aspp." if case.startswith("aspp") else "ups.0."
    named = convert_part("state_dict_depth", {official + name: t for name, t in state.items()})
    return {name.removeprefix(ours): tensor for name, tensor in named.items()}


def check_interest_points(record: Record, case: str, shapes: Shapes) -> Iterator[Check]:
    network = InterestPointNetwork(PyramidEncoder(50))
    _draw(network, "state_dict", shapes)
    network.train(case == "train")
    images = record["img"].clone().requires_grad_()
    normalised = normalise_images(images)
    yield relative("img_normalised", normalised, record["img_normalised"])
    found = network(normalised)
    yield relative("scores", found.logits, record["scores"], DEEP)
    yield relative("descriptors", found.descriptors, record["descriptors"], DEEP)
    names = ("skip_half", "skip_quarter", "skip_eight", "skip_sixteenth", "features")
    for name, level in zip(names, found.levels, strict=True):
        yield relative(f"{name}_first8", level[:, :8], record[f"{name}_first8"], DEEP)
        sums = level.double().sum((-2, -1))
        yield relative(f"{name}_sum_hw", sums, record[f"{name}_sum_hw"], DEEP)
    loss = (found.logits * record["grad_w_scores"]).sum()
    (loss + (found.descriptors * record["grad_w_desc"]).sum()).backward()
    yield relative("grad_img", images.grad, record["grad_img"], THROUGH)


def check_dense_depth(record: Record, case: str, shapes: Shapes) -> Iterator[Check]:
    network = DepthDensifier((64, 256, 512, 1024, 2048), (0.5, 10.0), compat="deltas")
    _draw(network, "state_dict_depth", shapes)
    network.train(case.endswith("train"))
    size = record["sparse_depth"].shape[-2:]
    xyz = record["keypoints_3d"].clone().requires_grad_()
    depth = xyz[..., 2]
    counts = (record["range_mask"] > 0) & (depth > 0.5) & (depth < 10.0)
    sparse = sparse_depth_map(
        record["keypoints"], torch.where(counts, depth, 0.0), counts.float(), size, 0.0
    )
    yield relative("sparse_depth", sparse.depth, record["sparse_depth"])
    names = ("skip_half", "skip_quarter", "skip_eight", "skip_sixteenth", "features")
    if "features" not in record:
        return
    levels = [record[name].clone().requires_grad_() for name in names]
    found = network(levels, sparse)
    for name, ours in zip(("dense_depth", "x2", "x4", "x8"), found, strict=True):
        yield relative(name, ours, record[name], DEEP)
    if "grad_out" in record:
        loss = (found[0] * record["grad_out"]).sum()
        (loss + 0.01 * sum(side.square().sum() for side in found[1:])).backward()
        yield relative("grad_keypoints_3d", xyz.grad, record["grad_keypoints_3d"], THROUGH)
        yield relative("grad_features", levels[-1].grad, record["grad_features"], THROUGH)


def check_end_to_end(record: Record, case: str, shapes: Shapes) -> Iterator[Check]:
    network = deltas_network("deltas").eval()
    for part, (module, _) in PARTS.items():
        _draw(getattr(network, module), part, shapes)
    for name, value in zip(_BATCH_NORM, record["tri_bn"], strict=True):
        network.matcher.norm.state_dict()[name].fill_(value)
    images = record["images_u8"].permute(0, 3, 1, 2)[None].float() / 255
    views = Views(2 * images - 1, record["K"][:, None].expand(-1, 3, -1, -1), record["pose"])
    given = record["keypoints"]
    keypoints = Keypoints(given, torch.zeros_like(given[..., 0]), given[..., 0] >= 0)
    with torch.no_grad():
        found = network(views, keypoints)
    points = found.points
    yield relative("scores", found.features.logits[:1], record["scores"], DEEP)
    yield relative(
        "descriptors", found.features.descriptors[..., ::2, ::2], record["descriptors"], DEEP
    )
    yield pixels("multiview_matches", points.matches.pixels, record["multiview_matches"])
    yield same("range_kp", points.matches.usable, record["range_kp"])
    confidence = points.matches.confidence.transpose(1, 2)
    yield relative("confidence", confidence, record["confidence"][..., 1:], DEEP)
    good = record["range_kp"].any(1)
    yield distances("keypoints_3d", points.xyz[good], record["keypoints_3d"][good], DEEP)
    yield relative("sparse_depth", found.sparse.depth, record["sparse_depth"], DEEP)
    for name, ours in zip(("dense_depth", "x2", "x4", "x8"), found.depths, strict=True):
        yield relative(name, ours, record[name], DEEP)


_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def _draw(module: nn.Module, part: str, shapes: Shapes) -> None:
    """Fill a module with the weights that its official names draw."""
    named = {name: tuple(entry["shape"]) for name, entry in shapes[part].items()}
    load_part(module, part, drawn_weights(_PREFIXES[part], named))


def network_checkers(shapes: Shapes) -> dict[str, Checker]:
    """The checkers of files by their names, for official weights of these shapes."""
    return {
        "deltas_keypoints.pth": check_keypoints,
        "deltas_blocks.pth": check_blocks,
        "deltas_supernet.pth": partial(check_interest_points, shapes=shapes),
        "deltas_densedepth.pth": partial(check_dense_depth, shapes=shapes),
        "deltas_end2end.pth": partial(check_end_to_end, shapes=shapes),
    }
