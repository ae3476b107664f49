"""Two processes against one: the same training, the same scores, and an end in any case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

TRAIN = """
_base_ = ["tiny.py"]
custom_imports = dict(imports=["bevdepth_plus.plugin", "mischief"])
custom_hooks = [
    *_base_.custom_hooks, dict(type="WithoutBatchHook"), dict(type="WriteLossesHook")
]
val_dataloader = val_cfg = val_evaluator = None
train_dataloader = dict(batch_size=2)
# Adam's first step is lr times the gradient's sign: noise decides it where the gradient is zero.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=0.02, momentum=0.9), clip_grad=dict(max_norm=5)
)
default_hooks = dict(checkpoint=dict(save_optimizer=False))
"""
TEST = """
_base_ = ["tiny.py"]
custom_imports = dict(imports=["bevdepth_plus.plugin", "mischief"])
custom_hooks = [dict(type="UnevenRanksHook")]
test_dataloader = dict(sampler=dict(round_up=False))
"""


def test_two_ranks_train_as_one_process_with_twice_the_batch(
    tiny_config, run_tool, run_two_ranks, tmp_path
):
    config = tiny_config.with_name("train.py")
    config.write_text(TRAIN)
    one = run_tool("train.py", config, "--work-dir", tmp_path / "one")
    two = run_two_ranks(
        "train.py", config, "--work-dir", tmp_path / "two", "--cfg-options",
        "train_dataloader.batch_size=1",
    )  # fmt: skip
    for result in (one, *two):
        assert result.returncode == 0, result.stderr[-3000:]

    losses = read_losses(tmp_path / "one" / "losses_0.jsonl")
    ranks = [read_losses(tmp_path / "two" / f"losses_{rank}.jsonl") for rank in (0, 1)]
    assert not torch.allclose(*ranks, rtol=0.01)  # they saw different samples
    torch.testing.assert_close(sum(ranks) / 2, losses, rtol=1e-5, atol=0)
    first, second = (
        torch.load(tmp_path / run / "iter_4.pth", weights_only=False)["state_dict"]
        for run in ("one", "two")
    )
    # The losses hold the first three steps to 1e-5. In the fourth a rounding may turn a ReLU over,
    # which moves single weights by some 1e-4.
    for name, weights in first.items():
        torch.testing.assert_close(second[name], weights, rtol=1e-4, atol=1e-3, msg=name)


def read_losses(path: Path) -> torch.Tensor:
    steps = [json.loads(line) for line in path.read_text().splitlines()]
    return torch.tensor([[step[name] for name in sorted(step)] for step in steps])


@pytest.fixture(scope="module")
def uneven(tiny_config) -> Path:
    config = tiny_config.with_name("uneven.py")
    config.write_text(TEST)
    return config


def test_ranks_of_different_size_and_speed_score_as_one_process(
    uneven, trained, run_tool, run_two_ranks, tmp_path
):
    checkpoint = trained / "iter_4.pth"
    one = run_tool("test.py", uneven, checkpoint, "--work-dir", tmp_path / "one")
    assert one.returncode == 0, one.stderr[-3000:]
    command = ("test.py", uneven, checkpoint, "--work-dir", tmp_path / "two")
    for result in run_two_ranks(*command, *exchange_in(tmp_path), SLOW_RANK="1"):
        assert result.returncode == 0, result.stderr[-3000:]
    expected, scores = (
        json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("one", "two")
    )
    assert scores == expected


@pytest.mark.parametrize("trouble", [dict(RAISING_RANK="1"), dict(RAISE_IN_SCORES="1")])
def test_a_rank_that_fails_ends_the_other_too(uneven, trained, run_two_ranks, tmp_path, trouble):
    command = ("test.py", uneven, trained / "iter_4.pth", "--work-dir", tmp_path)
    results = run_two_ranks(*command, *exchange_in(tmp_path), timeout=120, **trouble)
    assert all(result.returncode in (1, 2) for result in results), results
    assert not (tmp_path / "metrics.json").exists()


def exchange_in(folder: Path) -> tuple[str, str]:
    return "--cfg-options", f"test_evaluator.collect_dir={folder / 'exchange'}"
