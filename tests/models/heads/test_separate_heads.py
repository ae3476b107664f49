"""All branches at once beside mmdet3d's, one by one."""

from __future__ import annotations

import copy

import pytest
import torch
from mmdet3d.registry import MODELS
from torch import nn

from bevdepth_plus.models.heads import separate_heads
from bevdepth_plus.models.heads.separate_heads import joinable_branches, run_together


@pytest.fixture
def build_head(small_config):
    """A head whose normalisations have statistics of their own."""

    def build(**changes):
        config = small_config()
        head = copy.deepcopy(config["heads"]["boxes"])
        for name, value in changes.items():
            head[name] = {**head[name], **value} if name == "separate_head" else value
        torch.manual_seed(0)
        head = MODELS.build(head, default_args=dict(grid=config["grid"])).eval()
        for module in head.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
        return head

    return build


def assert_like_mmdet3d(head, shared) -> None:
    found = run_together(joinable_branches(head.task_heads), shared)
    for ours, task in zip(found, head.task_heads, strict=True):
        theirs = task(shared)
        assert ours.keys() == theirs.keys()
        for name, values in theirs.items():
            torch.testing.assert_close(ours[name], values, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [(9, 14), (1, 1), (2, 7)])
def test_maps_are_those_of_the_separate_heads(build_head, kernel, size):
    head = build_head(separate_head=dict(final_kernel=kernel))
    assert_like_mmdet3d(head, torch.randn(3, 64, *size))


@torch.no_grad()
def test_samples_in_parts_have_the_same_maps(build_head, monkeypatch):
    head = build_head()
    monkeypatch.setattr(separate_heads, "_MOST_VALUES", 2 * 36 * 64 * 9 * 14)
    assert_like_mmdet3d(head, torch.randn(5, 64, 9, 14))


@torch.no_grad()
def test_changed_weights_count_at_once(build_head):
    head, shared = build_head(), torch.randn(1, 64, 9, 14)
    for parameter in head.task_heads.parameters():
        parameter += 0.1 * torch.randn_like(parameter)
    assert_like_mmdet3d(head, shared)


def test_gradients_are_those_of_the_separate_heads(build_head):
    head, shared = build_head(), torch.randn(2, 64, 9, 14, requires_grad=True)
    together = run_together(joinable_branches(head.task_heads), shared)
    one_by_one = [task(shared) for task in head.task_heads]
    wanted = [shared, *head.task_heads.parameters()]
    grads = [
        torch.autograd.grad(sum(m.square().mean() for task in maps for m in task.values()), wanted)
        for maps in (together, one_by_one)
    ]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)


def test_a_training_head_runs_one_by_one_and_learns_its_statistics(build_head):
    head = build_head().train()
    assert joinable_branches(head.task_heads) == []
    norm = head.task_heads[0].reg[0].bn
    before = norm.running_mean.clone()
    head([torch.randn(2, 32, 8, 8)])
    assert not torch.equal(norm.running_mean, before)


def test_one_branch_in_training_keeps_them_apart(build_head):
    head = build_head()
    head.task_heads[2].vel.train()
    assert joinable_branches(head.task_heads) == []


def test_branches_of_other_layers_run_one_by_one(build_head):
    parts = dict(reg=(2, 3), height=(1, 2), dim=(3, 2), rot=(2, 2), vel=(2, 2))
    head = build_head(common_heads=parts)
    assert joinable_branches(head.task_heads) == []
    with torch.no_grad():
        assert head([torch.randn(1, 32, 8, 8)])[0][0]["reg"].shape == (1, 2, 8, 8)


def test_the_head_takes_them_together_for_predictions(build_head, monkeypatch):
    calls = []
    for task in (head := build_head()).task_heads:
        task.register_forward_hook(lambda *_: calls.append("one by one"))
    with torch.no_grad():
        head([torch.randn(1, 32, 8, 8)])
    assert calls == []
