"""Averaged weights (EMA) as the recipe configures them: what is averaged, and that it resumes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, MODELS
from mmengine.runner import Runner

from bevdepth_plus.compat import allow_mmengine_checkpoints

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "bevdepth_r50_256x704_24e_2key_ema.py"


class Toy(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(3)
        self.linear = torch.nn.Linear(3, 1)

    def forward(self, x, mode="tensor"):
        return dict(loss=self.linear(self.norm(x)).square().mean())


@pytest.fixture
def ema_hook() -> dict:
    (hook,) = [h for h in Config.fromfile(CONFIG).custom_hooks if h["type"] == "EMAHook"]
    return dict(hook)


def train(work_dir: Path, hook: dict, steps: int, resume: bool = False) -> dict:
    """The last checkpoint of a toy training that saves every step."""
    allow_mmengine_checkpoints()
    torch.manual_seed(0)
    data = [dict(x=torch.randn(3, generator=torch.Generator().manual_seed(i))) for i in range(8)]
    runner = Runner(
        Toy(),
        str(work_dir),
        train_dataloader=dict(
            dataset=data,
            batch_size=4,
            sampler=dict(type="InfiniteSampler", shuffle=False),
            collate_fn=dict(type="default_collate"),
        ),
        train_cfg=dict(by_epoch=False, max_iters=steps),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.5)),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=1)),
        custom_hooks=[hook],
        resume=resume,
        log_level="ERROR",
        experiment_name=f"{work_dir.name}-{steps}-{resume}",
    )
    runner.train()
    return torch.load(work_dir / f"iter_{steps}.pth", weights_only=False)


def test_a_resumed_training_continues_the_average_and_its_counter(tmp_path, ema_hook):
    straight = train(tmp_path / "straight", ema_hook, 4)
    train(tmp_path / "stopped", ema_hook, 2)
    resumed = train(tmp_path / "stopped", ema_hook, 4, resume=True)
    assert resumed["ema_state_dict"]["steps"] == 4
    for part in ("state_dict", "ema_state_dict"):
        assert straight[part].keys() == resumed[part].keys()
        for name, tensor in straight[part].items():
            assert torch.equal(tensor, resumed[part][name]), (part, name)


def test_early_averages_follow_the_newest_weights_and_batch_norm_statistics(tmp_path, ema_hook):
    train(tmp_path, ema_hook, 2)
    first, second = (
        torch.load(tmp_path / f"iter_{step}.pth", weights_only=False) for step in (1, 2)
    )
    # A checkpoint's state_dict holds the average; the trained weights lie in ema_state_dict.
    for name in ("linear.weight", "norm.running_mean"):
        before, after = (c["ema_state_dict"][f"module.{name}"] for c in (first, second))
        assert (after - before).abs().max() > 1e-3
        expected = torch.lerp(before, after, 10 / 11)
        torch.testing.assert_close(second["state_dict"][name], expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("step", "decay"), [(990, 0.99), (9990, 0.999), (10**6, 0.999)])
def test_the_decay_rises_to_0_999(ema_hook, step, decay):
    model = torch.nn.Linear(1, 1, bias=False)
    average = MODELS.build(HOOKS.build(ema_hook).ema_cfg, default_args=dict(model=model))
    average.module.weight.data.fill_(1.0)
    model.weight.data.zero_()
    average.steps.fill_(step)
    average.update_parameters(model)
    assert average.module.weight.item() == pytest.approx(decay, abs=1e-6)
