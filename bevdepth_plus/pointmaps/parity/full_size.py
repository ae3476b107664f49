"""The released networks: key lists, and forwards with weights that a formula gives.

Their weights are a hash of each parameter's name and index, so that nothing has to be stored.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bevdepth_plus.comparison import Comparison, compare
from bevdepth_plus.pointmaps.checkpoints import config_from_arguments, load_official
from bevdepth_plus.pointmaps.heads import activate
from bevdepth_plus.pointmaps.parity.nested import compare_nested
from bevdepth_plus.pointmaps.parity.networks import official_names, raw_outputs
from bevdepth_plus.pointmaps.two_view import TwoViewModel


def compare_full_size(folder: Path, config: Mapping) -> dict[str, Comparison]:
    """Each key list against our network, then each recorded forward (4 GB, minutes on a CPU)."""
    lists = sorted(folder.glob("*.keys.json"))
    if not lists:
        raise FileNotFoundError(f"{folder} holds no *.keys.json")
    found = {}
    for path in lists:
        name = path.name.removesuffix(".keys.json")
        released = json.loads(path.read_text())
        found[f"{name}.keys"] = compare_keys(name, released)
        record = path.with_name(f"{name}.procedural.pth")
        if record.is_file():
            found.update(compare_forward(name, released, record))
    return found


def compare_keys(name: str, released: Mapping) -> Comparison:
    """Fill our network from the released names and shapes, and compare the parameters in use.

    Raises:
        ValueError: a name or shape has no place, or a parameter of ours stays unfilled.
    """
    with torch.device("meta"):
        model = TwoViewModel(config_from_arguments(released["constructor_arguments"]))
        load_official(
            model, {key: torch.empty(shape) for key, (shape, _) in released["keys"].items()}
        )
    ours = sum(parameter.numel() for parameter in model.parameters())
    unused = sum(
        math.prod(shape)
        for key, (shape, _) in released["keys"].items()
        if key == "mask_token" or ".refinenet4.resConfUnit1." in key
    )
    counts = (torch.tensor([float(n)]) for n in (ours + unused, released["n_parameters"]))
    return compare(f"{name}.keys", *counts)


def compare_forward(name: str, released: Mapping, record: Path) -> dict[str, Comparison]:
    content = torch.load(record, map_location="cpu", weights_only=True)
    model = procedural_model(released)
    with torch.no_grad():
        actual = dict(_run(model, content))
    return compare_nested(name, actual, content["expected"])


def procedural_model(released: Mapping) -> TwoViewModel:
    """Our network with the weights of :func:`procedural_weight` under the official names."""
    model = TwoViewModel(config_from_arguments(released["constructor_arguments"])).eval()
    load_official(
        model,
        {key: procedural_weight(key, tuple(shape)) for key, (shape, _) in released["keys"].items()},
    )
    return model


def procedural_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers that follow from a parameter's name alone, of a size that keeps signals alive.

    A 32-bit hash of name and index, in [-1, 1), times a scale, plus 1 for the scales of norms.
    """
    for level in range(4):  # of a tensor with two names, the first one counts
        key = key.replace(f".layer_rn.{level}.", f".layer{level + 1}_rn.")
    mask = np.uint64(0xFFFFFFFF)
    x = np.arange(math.prod(shape), dtype=np.uint64) * np.uint64(2654435761)
    x = (x + np.uint64(zlib.crc32(key.encode()))) & mask
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        x ^= x >> np.uint64(shift)
        x = (x * np.uint64(factor)) & mask
    x ^= x >> np.uint64(16)
    values = (x >> np.uint64(8)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    scale, offset = _scale_offset(key, shape)
    return torch.from_numpy(values.reshape(shape) * np.float32(scale) + np.float32(offset))


def _scale_offset(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    if len(shape) >= 2:
        is_transposed = "act_postprocess.0.1" in key or "act_postprocess.1.1" in key
        fan = shape[0] if is_transposed else math.prod(shape[1:])
        gain = 1.2 if "scratch" in key or "dpt.head" in key else 1.7
        return gain / math.sqrt(fan), 0.0
    return (0.3, 1.0) if "norm" in key and key.endswith("weight") else (0.2, 0.0)


def _run(model: TwoViewModel, content: Mapping) -> Iterator[tuple[str, object]]:
    stride = content["pixel_stride"]
    tokens = model.encode(content["view1"]["img"], content["view2"]["img"])
    layers = model.decoder(*tokens)
    raws: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    for view, (token, layer) in enumerate(zip(tokens, layers, strict=True), start=1):
        yield f"feat{view}", token.features
        yield f"dec{view}", layer
        raw = model.raw_map(view, layer, token)
        named = official_names(activate(raw), view)
        yield f"pred{view}", {key: value[:, ::stride, ::stride] for key, value in named.items()}
        sums.update({f"pred{view}.{key}": map_.double().sum() for key, map_ in named.items()})
        raws.update(_thinned(raw_outputs(model, view, layer, raw), stride))
    yield "raw", raws
    yield "sums", sums


def _thinned(raws: Mapping[str, Tensor], stride: int) -> dict[str, Tensor]:
    """Maps at every ``stride``-th pixel, patches at every 3rd token and 16th channel."""
    return {
        name: raw[..., ::stride, ::stride] if raw.ndim == 4 else raw[:, ::3, ::16]
        for name, raw in raws.items()
    }
