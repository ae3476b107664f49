"""How far two ways to the same numbers are apart: devices, and ours against the reference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .bench import PRECISIONS, Bench
from .reference_way import reference_way


def devices_agree(bench: Bench) -> dict[str, float]:
    """CPU against the bench's device in float32, batch 1, largest differences.

    Of the network's outputs, relative to the largest value of each; of the losses; and of the
    gradients' norm after one backward pass.
    """
    here = {}
    with bench.set_to(PRECISIONS["fp32"]) as model:
        for device in ("cpu", bench.device):
            model.to(device).load_state_dict(bench.first_weights)  # training moves the norms' means
            here[device] = numbers(model, bench.batch("val", 1), bench.batch("train", 1))
    return differences(here["cpu"], here[bench.device])


def ways_agree(bench: Bench, size: int) -> dict[str, float]:
    """Ours against the reference way on the bench's device, in float32."""
    batches = bench.batch("val", size), bench.batch("train", size)
    with bench.set_to(PRECISIONS["fp32"]) as model:
        ours = numbers(model, *batches)
        model.load_state_dict(bench.first_weights)
        with reference_way(model):
            theirs = numbers(model, *batches)
    return differences(ours, theirs)


def numbers(model: nn.Module, validation: dict, training: dict) -> dict[str, Any]:
    """Outputs, boxes, losses and the gradients' norm, on the CPU."""
    model.eval()
    ready = model.data_preprocessor(validation, False)
    with torch.no_grad():
        outputs = flat(model(**ready, mode="tensor"))
        samples = model(**ready, mode="predict")
    scores = [sample.pred_instances_3d.scores_3d.sort(descending=True)[0] for sample in samples]
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.eval()  # it draws other numbers at every step and on every device
    ready = model.data_preprocessor(training, True)
    losses = model(**ready, mode="loss")
    total, _ = model.parse_losses(losses)
    model.zero_grad(set_to_none=True)
    total.backward()
    gradients = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    norm = torch.stack(gradients).norm()
    model.zero_grad(set_to_none=True)
    return {
        "outputs": [x.float().cpu() for x in outputs],
        "scores": [x.float().cpu() for x in scores],
        "losses": {name: value.item() for name, value in losses.items()},
        "gradient_norm": norm.item(),
    }


def differences(a: dict[str, Any], b: dict[str, Any]) -> dict[str, float]:
    def relative(x: Tensor, y: Tensor) -> float:
        return ((x - y).abs().max() / x.abs().max().clamp(min=1e-9)).item() if x.numel() else 0.0

    counts = [(len(x), len(y)) for x, y in zip(a["scores"], b["scores"], strict=True)]
    best = [(x[: len(y)], y[: len(x)]) for x, y in zip(a["scores"], b["scores"], strict=True)]
    return {
        "outputs": max(relative(x, y) for x, y in zip(a["outputs"], b["outputs"], strict=True)),
        "scores": max(relative(x, y) for x, y in best),
        "most_boxes_more_or_less": max(abs(n - m) for n, m in counts),
        **{
            name: abs(value - b["losses"][name]) / max(abs(value), 1e-9)
            for name, value in a["losses"].items()
        },
        "gradient_norm": abs(a["gradient_norm"] - b["gradient_norm"]) / a["gradient_norm"],
    }


def flat(outputs: Any) -> list[Tensor]:
    """All tensors of nested lists and dicts, in order; a dict by its sorted names."""
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, dict):
        return [tensor for _, value in sorted(outputs.items()) for tensor in flat(value)]
    return [tensor for value in outputs for tensor in flat(value)]
