"""The stages of the benchmark, in the order of their importance."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from .agreement import devices_agree, ways_agree
from .bench import PRECISIONS, Bench, Precision
from .profiling import profiled
from .reference_way import reference_way


def stages(train_batch: int, predict_batches: tuple[int, ...]) -> dict[str, Callable]:
    """name -> function of a :class:`Bench` that returns what is written."""
    train = partial(training, size=train_batch)
    predict = partial(prediction, sizes=predict_batches)
    found: dict[str, Callable] = {"agreement/devices": devices_agree}
    for name in ("tf32", "fp16", "bf16", "fp32"):
        found[f"train/{name}"] = partial(train, precision=PRECISIONS[name])
    for name in ("tf32", "fp16", "bf16"):
        found[f"predict/{name}"] = partial(predict, precision=PRECISIONS[name])
    for name in ("tf32", "fp16", "bf16"):
        found[f"profile/train/{name}"] = partial(
            profile_training, precision=PRECISIONS[name], size=train_batch
        )
    found["agreement/ways"] = partial(ways_agree, size=min(2, train_batch))
    for name in ("tf32", "fp16"):
        precision = PRECISIONS[name]
        found[f"reference/train/{name}"] = partial(train, precision=precision, reference=True)
        found[f"reference/predict/{name}"] = partial(predict, precision=precision, reference=True)
    found["profile/predict/tf32"] = partial(
        profile_prediction, precision=PRECISIONS["tf32"], size=predict_batches[0]
    )
    for name in ("fp16", "bf16"):
        precision = replace(PRECISIONS[name], channels_last=True)
        found[f"channels_last/train/{name}"] = partial(train, precision=precision)
        found[f"channels_last/predict/{name}"] = partial(predict, precision=precision)
    precision = replace(PRECISIONS["fp16"], cudnn_benchmark=False)
    found["cudnn_heuristics/train/fp16"] = partial(train, precision=precision)
    found["profile/predict/fp16"] = partial(
        profile_prediction, precision=PRECISIONS["fp16"], size=predict_batches[-1]
    )
    for kind, profile in (("train", profile_training), ("predict", profile_prediction)):
        found[f"reference/profile/{kind}/tf32"] = partial(
            profile, precision=PRECISIONS["tf32"], size=train_batch, reference=True
        )
    return found


def training(
    bench: Bench, precision: Precision, size: int, reference: bool = False
) -> dict[str, Any]:
    with way(bench, reference):
        return bench.time_training(precision, size)


def prediction(
    bench: Bench, precision: Precision, sizes: tuple[int, ...], reference: bool = False
) -> dict[str, Any]:
    with way(bench, reference):
        return {f"batch_{size}": bench.time_prediction(precision, size) for size in sizes}


def profile_training(
    bench: Bench, precision: Precision, size: int, reference: bool = False
) -> dict[str, Any]:
    with way(bench, reference), bench.training(precision, size) as (step, _):
        for _ in range(2):
            step()
        return {"batch": size, **profiled(step, bench.device)}


def profile_prediction(
    bench: Bench, precision: Precision, size: int, reference: bool = False
) -> dict[str, Any]:
    with way(bench, reference), bench.prediction(precision, size) as predict:
        for _ in range(3):  # the second makes the pooling plan
            predict()
        return {"batch": size, **profiled(predict, bench.device)}


def way(bench: Bench, reference: bool):
    return reference_way(bench.model) if reference else nullcontext()
