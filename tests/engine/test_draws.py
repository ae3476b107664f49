from __future__ import annotations

import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import sampler as mmengine_samplers
from mmengine.dataset import worker_init_fn
from mmengine.runner import Runner
from torch.utils.data import Dataset

from bevdepth_plus.engine import draws
from bevdepth_plus.engine.draws import leave_out, seed_step, with_seeded_draws


class Toy(Dataset):
    """Yields its index and a draw of each kind; remembers what was read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple:
        self.read.append(index)
        return index, random.random(), np.random.rand(), torch.rand(()).item()


@pytest.fixture
def make_loader(monkeypatch):
    """``make_loader(sampler type, rank, world size, batch size)``."""

    def make(sampler: str = "DefaultSampler", rank: int = 0, world_size: int = 1, batch: int = 1):
        for module in (draws, mmengine_samplers):
            monkeypatch.setattr(module, "get_dist_info", lambda: (rank, world_size))
        config = dict(
            dataset=dict(type=Toy), sampler=dict(type=sampler, shuffle=True), batch_size=batch
        )
        return Runner.build_dataloader(with_seeded_draws(config, seed=3), seed=3)

    return make


def samples(loader, count: int) -> list[tuple]:
    batches = itertools.islice(loader, count // loader.batch_size)
    return [sample for batch in batches for sample in zip(*batch, strict=True)]


@pytest.mark.parametrize("sampler", ["DefaultSampler", "InfiniteSampler"])
def test_a_samples_draws_do_not_depend_on_how_a_batch_is_split(make_loader, sampler):
    whole = samples(make_loader(sampler, batch=2), 4)
    first, second = (samples(make_loader(sampler, rank, 2), 2) for rank in (0, 1))
    assert whole == [sample for pair in zip(first, second, strict=True) for sample in pair]
    assert len(set(whole)) == 4


def test_epochs_and_repetitions_draw_anew(make_loader):
    loader = make_loader()
    seen = samples(loader, 4)
    loader.sampler.set_epoch(1)
    seen += samples(loader, 4)
    endless = samples(make_loader("InfiniteSampler"), 8)
    for drawn in (seen, endless):
        assert sorted(sample[0] for sample in drawn) == [0, 0, 1, 1, 2, 2, 3, 3]
        assert all(len(set(column)) == 8 for column in list(zip(*drawn, strict=True))[1:])


def test_reading_a_sample_leaves_the_models_draws_alone(make_loader):
    loader = make_loader()
    states = []
    for read in (False, True):
        worker_init_fn(0, 1, 0, seed=5)
        if read:
            loader.dataset[1, 0, 0]
        states.append((random.random(), np.random.rand(), torch.rand(()).item()))
    assert states[0] == states[1]


def test_a_resumed_iteration_loop_reads_nothing_twice(make_loader):
    straight = samples(make_loader("InfiniteSampler"), 7)
    loader = make_loader("InfiniteSampler")
    loop = SimpleNamespace(dataloader=loader, dataloader_iterator=iter(loader))
    next(loop.dataloader_iterator)  # as a loader process that reads ahead
    loader.dataset.read.clear()
    leave_out(loop, samples=5, steps=5)
    assert [next(loop.dataloader_iterator) for _ in range(5)] == [None] * 5
    assert [next(zip(*next(loop.dataloader_iterator), strict=True)) for _ in "56"] == straight[5:]
    assert len(loader.dataset.read) == 2


def test_ranks_and_steps_draw_differently(monkeypatch):
    drawn = set()
    for rank, step in itertools.product((0, 1), (0, 1)):
        monkeypatch.setattr(draws, "get_dist_info", lambda rank=rank: (rank, 2))
        seed_step(seed=0, step=step)
        drawn.add((random.random(), np.random.rand(), torch.rand(()).item()))
    assert all(len(set(column)) == 4 for column in zip(*drawn, strict=True))
