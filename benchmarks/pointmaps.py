"""The two-view network and its matching beside plain references, in one run.

    OMP_NUM_THREADS=1 python benchmarks/pointmaps.py [--repeats N] [--json FILE]

The network has the size of MASt3R and random weights; one pair of 512 x 384 pixels. Its plain
reference has the same weights and computes as public codes do: attention as a softmax of a stored
matrix, rotary embedding by a table that is made at every call. Matching: seeds at every 8th row and
column; the plain reference computes the nearest neighbours of both sides at each step, for all
seeds, in blocks of 8192. Descriptors are smooth fields of which the second is the first, moved (a
random network gives none). Outputs and matches are compared before they are timed. CPU time of one
thread, best of N in turns.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from bevdepth_plus.pointmaps import blocks
from bevdepth_plus.pointmaps.matching import (
    Descriptors,
    fast_reciprocal,
    seed_pixels,
    unique_pairs,
)
from bevdepth_plus.pointmaps.rope import BASE
from bevdepth_plus.pointmaps.two_view import TwoViewConfig, TwoViewModel

SIZE = (384, 512)
SUBSAMPLE, BLOCK, MAX_STEPS = 8, 8192, 10
DESCRIPTOR_DIM = 24
TOLERANCE = 1e-4  # relative, of the outputs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=2, help="the best of so many counts")
    parser.add_argument("--only", choices=["network", "matching"])
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    report = {}
    with torch.no_grad():
        if args.only != "matching":
            report["network"] = time_network(args.repeats)
        if args.only != "network":
            report["matching"] = time_matching(args.repeats)
    print(f"{'':10}{'ours s':>9}{'plain s':>9}{'ratio':>7}")
    for name, numbers in report.items():
        ours, plain = numbers["ours_s"], numbers["plain_s"]
        print(f"{name:10}{ours:9.2f}{plain:9.2f}{plain / ours:6.2f}x  {numbers}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


def time_network(repeats: int) -> dict[str, float]:
    """Forward of one pair; the memory is what the process held beyond the weights at most."""
    model = TwoViewModel(TwoViewConfig(descriptor_dim=DESCRIPTOR_DIM)).eval()
    weights = sum(parameter.nbytes for parameter in model.parameters())
    before = _peak_bytes()
    images = 2 * torch.rand(2, 1, 3, *SIZE) - 1
    ours = model(*images)
    memory = _peak_bytes() - before
    with plain_attention():
        plain = model(*images)
    for one, other in zip(ours, plain, strict=True):
        error = (one.points - other.points).norm() / other.points.norm()
        if not error < TOLERANCE:
            raise SystemExit(f"the two ways differ by {error:.1e}, relative; no time is worth it")

    def plainly() -> None:
        with plain_attention():
            model(*images)

    best = best_times({"ours_s": lambda: model(*images), "plain_s": plainly}, repeats)
    return {
        **best,
        "beyond_weights_gb": round(memory / 1e9, 2),
        "weights_gb": round(weights / 1e9, 2),
    }


def time_matching(repeats: int) -> dict[str, float]:
    """Reciprocal nearest neighbours of one pair."""
    pair = descriptor_pair()
    ours = fast_reciprocal(*pair, SUBSAMPLE, MAX_STEPS)
    plain = plain_reciprocal(*pair)
    if not torch.equal(ours, plain):
        raise SystemExit(f"the two ways differ: {len(ours)} and {len(plain)} matches")
    best = best_times(
        {
            "ours_s": lambda: fast_reciprocal(*pair, SUBSAMPLE, MAX_STEPS),
            "plain_s": lambda: plain_reciprocal(*pair),
        },
        repeats,
    )
    return {**best, "matches": len(ours)}


def best_times(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The shortest CPU time of each, taken in turns so that a busy machine is busy for all."""
    times = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: round(min(taken), 2) for name, taken in times.items()}


@contextmanager
def plain_attention() -> Iterator[None]:
    """The network's blocks compute attention and rotary embedding the plain way."""
    fused = blocks.scaled_dot_product_attention, blocks.rotate
    blocks.scaled_dot_product_attention, blocks.rotate = _softmax_attention, _table_rotation
    try:
        yield
    finally:
        blocks.scaled_dot_product_attention, blocks.rotate = fused


def _softmax_attention(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    return scores.softmax(dim=-1) @ values


def _table_rotation(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rows turn the first half of the channels, columns the second, by tables of all positions."""
    half = x.shape[-1] // 2
    rows, columns = SIZE[0] // 16, SIZE[1] // 16
    positions = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    frequencies = 1.0 / BASE ** (torch.arange(0, half, 2).float() / half)
    parts = []
    for channels, index in zip(x.split(half, dim=-1), positions.unbind(1), strict=True):
        angles = torch.outer(torch.arange(int(index.max()) + 1).float(), frequencies)
        table = torch.cat([angles, angles], dim=-1)
        cosine, sine = table.cos()[index], table.sin()[index]  # [T, D / 2]
        first, second = channels.chunk(2, dim=-1)
        parts.append(channels * cosine + torch.cat([-second, first], dim=-1) * sine)
    return torch.cat(parts, dim=-1)


def descriptor_pair() -> tuple[Descriptors, Descriptors]:
    """Smooth fields of length 1; the second image shows the first moved, and some noise."""
    field = torch.randn(1, DESCRIPTOR_DIM, SIZE[0] // 8, SIZE[1] // 8 + 4)
    field = functional.interpolate(field, scale_factor=8, mode="bicubic", align_corners=False)
    confidence = torch.ones(SIZE)
    images = []
    for left in (0, 12):
        values = field[0, :, : SIZE[0], left : left + SIZE[1]].permute(1, 2, 0)
        values = functional.normalize(values + 0.05 * torch.randn_like(values), dim=-1)
        images.append(Descriptors(values.contiguous(), confidence))
    return tuple(images)


def plain_reciprocal(image1: Descriptors, image2: Descriptors) -> Tensor:
    """As :func:`fast_reciprocal`, but both sides of every block are computed for all seeds."""
    values1, values2 = image1.values.flatten(0, 1), image2.values.flatten(0, 1)
    here = seed_pixels(image1.size, SUBSAMPLE)
    there = torch.full_like(here, -1)
    settled = torch.zeros_like(here, dtype=torch.bool)
    for _ in range(MAX_STEPS):
        nearest2, _ = both_nearest(values1[here], values2)
        nearest1, _ = both_nearest(values2[nearest2], values1)
        settled = (nearest2 == there) | (nearest1 == here)
        there = nearest2
        if settled.all():
            break
        here = torch.where(settled, here, nearest1)
    return unique_pairs(torch.stack([here, there], dim=1)[settled])[0]


def both_nearest(queries: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The best target of each query and the best query of each target, in blocks."""
    best = [queries.new_full((len(side),), -torch.inf) for side in (queries, targets)]
    index = [torch.zeros(len(side), dtype=torch.int64) for side in (queries, targets)]
    for i in range(0, len(queries), BLOCK):
        for j in range(0, len(targets), BLOCK):
            block = queries[i : i + BLOCK] @ targets[j : j + BLOCK].T
            for side, (dim, start, other) in enumerate(((1, i, j), (0, j, i))):
                value, found = block.max(dim=dim)
                there = slice(start, start + len(value))
                nearer = value > best[side][there]
                index[side][there] = torch.where(nearer, found + other, index[side][there])
                best[side][there] = torch.where(nearer, value, best[side][there])
    return index[0], index[1]


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
