"""Random draws that depend on the seed and on what is drawn for, never on what was drawn before.

mmengine seeds each loader process once. What a process then draws depends on all it drew before,
on the number of processes and of ranks, and is lost when a run is killed. Here every sample of an
epoch and every training step has its own seed instead.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_dist_info
from mmengine.registry import DATA_SAMPLERS, DATASETS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator
from torch.utils.data import Dataset, Sampler

_OF_SAMPLES, _OF_STEPS = 0, 1  # keep the two kinds of seeds apart


def with_seeded_draws(dataloader: Mapping, seed: int) -> dict:
    """A dataloader's config in which each sample's augmentation depends on ``seed``, the epoch and
    the sample's place in the epoch alone; any dataset, wrapper or sampler."""
    return {
        **dataloader,
        "dataset": dict(type=SeededDataset, dataset=dataloader["dataset"], seed=seed),
        "sampler": dict(type=NumberedSampler, sampler=dataloader["sampler"]),
    }


def seed_step(seed: int, step: int) -> None:
    """Seed everything this process draws from, on all devices, for one training step."""
    rank, _ = get_dist_info()
    torch_seed = _seed_all(_OF_STEPS, seed, step, rank)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(torch_seed)


def leave_out(loop: BaseLoop, samples: int, steps: int) -> None:
    """Have a training loop that is about to resume start after what the epoch has seen.

    mmengine's iteration loop draws and drops the batches of all ``steps`` done, which may take
    hours; it still does if its sampler is not endless.
    """
    sampler = loop.dataloader.sampler
    if not samples or not isinstance(sampler, NumberedSampler):
        return
    if isinstance(loop, EpochBasedTrainLoop):
        sampler.skip = samples
    elif isinstance(sampler.sampler, InfiniteSampler):
        sampler.skip = samples
        batches = _InfiniteDataloaderIterator(loop.dataloader)
        loop.dataloader_iterator = itertools.chain(itertools.repeat(None, steps), batches)


class NumberedSampler(Sampler):
    """Yields ``(index, epoch, number)``; ``number`` counts the samples of all ranks in an epoch.

    Args:
        sampler: Config of the sampler whose indices are numbered. It must deal them out to the
            ranks in turn, as mmengine's do.
        dataset: The dataset to draw from.
        seed: Seed of the order.
    """

    def __init__(self, sampler: dict, dataset: Dataset, seed: int | None = None) -> None:
        self.config = sampler
        self.sampler = DATA_SAMPLERS.build(sampler, default_args=dict(dataset=dataset, seed=seed))
        self.epoch = 0
        self.skip = 0  # samples of all ranks that the next epoch leaves out at its start

    def __iter__(self) -> Iterator[tuple[int, int, int]]:
        if isinstance(self.sampler, InfiniteSampler):  # it would go on where it was left
            fresh = dict(dataset=self.sampler.dataset, seed=self.sampler.seed)
            self.sampler = DATA_SAMPLERS.build(self.config, default_args=fresh)
        rank, world_size = get_dist_info()
        skip, self.skip = self.skip // world_size, 0
        numbers = itertools.count(rank, world_size)
        numbered = zip(self.sampler, itertools.repeat(self.epoch), numbers, strict=False)
        return itertools.islice(numbered, skip, None)

    def __len__(self) -> int:
        return len(self.sampler)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)


class SeededDataset(Dataset):
    """A dataset whose items are drawn by ``(index, epoch, number)``, see ``NumberedSampler``."""

    def __init__(self, dataset: dict, seed: int) -> None:
        self.dataset = DATASETS.build(dataset)
        self.seed = seed

    def __getitem__(self, item: tuple[int, int, int]) -> Any:
        index, epoch, number = item
        with _own_draws():
            _seed_all(_OF_SAMPLES, self.seed, epoch, number)
            return self.dataset[index]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)


@contextmanager
def _own_draws() -> Iterator[None]:
    """Draws on the CPU inside do not move those outside."""
    python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(pytorch)


def _seed_all(*key: int) -> int:
    """Seed Python's, numpy's and torch's draws on the CPU; returns torch's seed."""
    words = np.random.SeedSequence(key).generate_state(4)
    np.random.seed(words)
    low, high = words[:2].tolist()
    torch_seed = high << 32 | low
    random.seed(torch_seed)
    torch.default_generator.manual_seed(torch_seed)
    return torch_seed
