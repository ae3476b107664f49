"""The two-view network on recorded inputs.

A folder holds ``config.json``, ``official_state_dict.pth``, ``inputs.pth`` and ``expected.pth``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from bevdepth_plus.comparison import Comparison
from bevdepth_plus.pointmaps.checkpoints import config_from_arguments, load_official
from bevdepth_plus.pointmaps.heads import Pointmap, activate
from bevdepth_plus.pointmaps.matching import Descriptors, match_images
from bevdepth_plus.pointmaps.parity.nested import compare_nested
from bevdepth_plus.pointmaps.two_view import TwoViewModel

_FILES = ("official_state_dict.pth", "inputs.pth", "expected.pth")


def compare_network(folder: Path, config: Mapping) -> dict[str, Comparison]:
    """Compare every recorded tensor of every case, see :func:`parity.compare_folder`."""
    for name in _FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder / name} is missing; the folder holds {_FILES}")
    weights, inputs, expected = (
        torch.load(folder / name, map_location="cpu", weights_only=True) for name in _FILES
    )
    arguments = config_from_arguments(config["constructor_arguments"], config["dpt_override"])
    model = TwoViewModel(arguments)
    load_official(model, weights)
    model.eval()
    found = {}
    with torch.no_grad():
        for case, record in expected.items():
            run = run_pair if "view1" in inputs[case] else run_both_orders
            found.update(compare_nested(case, dict(run(model, inputs[case])), record))
    return found


def run_pair(model: TwoViewModel, inputs: Mapping) -> Iterator[tuple[str, object]]:
    """Our version of every recorded tensor of one case."""
    views = (inputs["view1"], inputs["view2"])
    images1, images2 = (view["img"] for view in views)
    stored_transposed = [None, None]
    if inputs["which"] == "train":
        stored_transposed = [view["true_shape"][:, 1] < view["true_shape"][:, 0] for view in views]
    symmetrised = views[0]["instance"][::2] == views[1]["instance"][1::2] != []
    encode = model.encode_symmetrised if symmetrised else model.encode
    tokens = encode(images1, images2, *stored_transposed)
    layers = model.decoder(*tokens)
    raws: dict[str, Tensor] = {}
    for index, (token, layer) in enumerate(zip(tokens, layers, strict=True), start=1):
        yield f"feat{index}", token.features
        yield f"pos{index}", token.positions.expand(len(images1), -1, -1)
        yield f"dec{index}", layer
        raw = model.raw_map(index, layer, token)
        yield f"pred{index}", official_names(activate(raw), index)
        raws.update(raw_outputs(model, index, layer, raw))
    yield "raw", raws


def run_both_orders(model: TwoViewModel, inputs: Mapping) -> Iterator[tuple[str, object]]:
    """Both orders of a pair, and the matches between its images."""
    results = model.symmetric(inputs["img1"], inputs["img2"])
    yield "pts3d", [one.points for one in results]
    yield "pts_conf", [one.confidence for one in results]
    yield "desc_conf", [one.descriptor_confidence for one in results]
    yield "desc_mean_abs", [one.descriptors.abs().mean(dim=(1, 2)) for one in results]
    of1_in1, of2_in1, of2_in2, of1_in2 = (
        Descriptors(one.descriptors[0], one.descriptor_confidence[0]) for one in results
    )
    matches = match_images([(of1_in1, of2_in1), (of1_in2, of2_in2)], inputs["subsample"])
    yield "xy1", matches.pixels1
    yield "xy2", matches.pixels2
    yield "conf", matches.confidence


def official_names(pointmap: Pointmap, view: int) -> dict[str, Tensor]:
    named = {
        "pts3d" if view == 1 else "pts3d_in_other_view": pointmap.points,
        "conf": pointmap.confidence,
    }
    if pointmap.descriptors is not None:
        named["desc"] = pointmap.descriptors
        named["desc_stride4"] = pointmap.descriptors[:, ::4, ::4]
        named["desc_conf"] = pointmap.descriptor_confidence
    return named


def raw_outputs(
    model: TwoViewModel, view: int, layers: list[Tensor], raw: Tensor
) -> dict[str, Tensor]:
    """A head's numbers before activation, by their recorded names."""
    head = model.head1 if view == 1 else model.head2
    if model.config.head == "linear":
        return {f"head{view}_proj": head.project(layers[-1])}
    found = {f"head{view}_dpt": raw[:, :4]}
    if head.descriptors is not None:
        both = torch.cat([layers[0], layers[-1]], dim=-1)
        found[f"head{view}_head_local_features"] = head.descriptors(both)
    return found
