"""Matching and triangulation against a plane sweep and the public way, in one run.

    OMP_NUM_THREADS=1 python benchmarks/triangulation.py [--repeats N]

512 points of a 240 x 320 image in 2 sources, maps at 1/8 resolution. The plane sweep has 64 planes
at 1/4 resolution with 32 channels, a dot product, and no network. The public way samples every
descriptor of 3 lines of 100 samples, 128 channels, and triangulates by SVD. All of it is timed as
CPU time of one thread, or as time between device synchronisations, best of N in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from bevdepth_plus.geometry.pinhole import pixel_centres, rays
from bevdepth_plus.geometry.triangulation import (
    projection_matrices,
    triangulate_inverse_depth,
    triangulate_svd,
)
from bevdepth_plus.triangulation.deltas_compat import DeltasEpipolarMatcher
from bevdepth_plus.triangulation.epipolar_matching import EpipolarMatcher

SIZE = (240, 320)
DEPTH_RANGE = (0.5, 10.0)
POINTS, SOURCES, CHANNELS = 512, 2, 128
PLANES, SWEEP_CHANNELS, SWEEP_STRIDE = 64, 32, 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=10, help="the best of so many counts")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = torch.device(args.device)
    ways = {
        "ours, 3 lines": ours(device, (-1.0, 0.0, 1.0)),
        "ours, 1 line": ours(device, (0.0,)),
        "plane sweep": plane_sweep(device),
        "public way": public_way(device),
    }
    with torch.no_grad():
        best = best_times(ways, args.repeats, device)
    print(f"{'way':16} {'ms':>8} {'beside ours, 3 lines':>21}")
    for name, seconds in best.items():
        print(f"{name:16} {1e3 * seconds:8.1f} {seconds / best['ours, 3 lines']:20.1f}x")


def best_times(
    ways: dict[str, Callable[[], object]], repeats: int, device: torch.device
) -> dict[str, float]:
    """The shortest time of each, taken in turns so that a busy machine is busy for all."""
    times = {name: [] for name in ways}
    for _ in range(repeats + 1):  # the first is warm-up
        for name, run in ways.items():
            times[name].append(_seconds(run, device))
    return {name: min(taken[1:]) for name, taken in times.items()}


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cpu":
        start = time.process_time()
        run()
        return time.process_time() - start
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    run()
    torch.cuda.synchronize(device)
    return time.perf_counter() - start


def scene(device: torch.device) -> dict[str, Tensor]:
    """Points, cameras and descriptor maps."""
    matrix = torch.tensor([[290.0, 0, 160], [0, 290, 120], [0, 0, 1]])
    poses = torch.eye(4).repeat(1, SOURCES, 1, 1)
    poses[0, :, 0, 3] = torch.tensor([-0.12, 0.12])
    cells = SIZE[0] // 8, SIZE[1] // 8
    maps = functional.normalize(torch.randn(1, 1 + SOURCES, CHANNELS, *cells), dim=2)
    pixels = torch.rand(1, POINTS, 2) * torch.tensor([SIZE[1], SIZE[0]])
    tensors = dict(
        maps=maps,
        pixels=pixels,
        intrinsics=matrix[None],
        source_intrinsics=matrix.expand(1, SOURCES, 3, 3),
        poses=poses,
    )
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def ours(device: torch.device, across: tuple[float, ...]) -> Callable[[], object]:
    given, matcher = scene(device), EpipolarMatcher(across=across).to(device)
    cameras = given["intrinsics"], given["source_intrinsics"], given["poses"]

    def run():
        maps, pixels = given["maps"], given["pixels"]
        found = matcher(maps[:, 0], maps[:, 1:], pixels, *cameras, SIZE, DEPTH_RANGE)
        return triangulate_inverse_depth(
            pixels, cameras[0], found.pixels, found.information, *cameras[1:]
        )

    return run


def public_way(device: torch.device) -> Callable[[], object]:
    given, matcher = scene(device), DeltasEpipolarMatcher().to(device).eval()
    cameras = given["intrinsics"], given["source_intrinsics"], given["poses"]
    identity = torch.eye(4, device=device).expand(1, 1, 4, 4)
    matrices = torch.cat([cameras[0][:, None], cameras[1]], dim=1)
    projections = projection_matrices(matrices, torch.cat([identity, cameras[2]], dim=1))

    def run():
        maps, pixels = given["maps"], given["pixels"]
        found = matcher(maps[:, 0], maps[:, 1:], pixels, *cameras, SIZE, DEPTH_RANGE)
        seen = torch.cat([pixels[:, None], found.pixels], dim=1)
        confidence = torch.cat([torch.ones_like(pixels[:, None, :, 0]), found.confidence], dim=1)
        return triangulate_svd(projections, seen, confidence)

    return run


def plane_sweep(device: torch.device) -> Callable[[], object]:
    """A dot-product cost volume, plane by plane, which is the faster way on a CPU."""
    given = scene(device)
    cells = SIZE[0] // SWEEP_STRIDE, SIZE[1] // SWEEP_STRIDE
    maps = torch.randn(1 + SOURCES, SWEEP_CHANNELS, *cells, device=device)
    centres = pixel_centres(SIZE, SWEEP_STRIDE).to(device)
    directions = rays(centres.reshape(1, -1, 2), given["intrinsics"])[0]  # [P, 3]
    near, far = DEPTH_RANGE
    inverse_depths = torch.linspace(1 / far, 1 / near, PLANES).tolist()
    size = torch.tensor([SIZE[1], SIZE[0]], device=device)

    def run():
        matrices, poses = given["source_intrinsics"][0], given["poses"][0]
        offset = directions @ (matrices @ poses[:, :3, :3]).transpose(-1, -2)  # [V, P, 3]
        slope = (matrices @ poses[:, :3, 3:]).transpose(-1, -2)  # [V, 1, 3]
        volume = maps.new_empty(PLANES, *cells)
        for plane, inverse_depth in enumerate(inverse_depths):
            homogeneous = offset + inverse_depth * slope
            grid = homogeneous[..., :2] / homogeneous[..., 2:] / size * 2 - 1
            warped = functional.grid_sample(maps[1:], grid.unflatten(1, cells), align_corners=False)
            volume[plane] = (warped * maps[:1]).sum((0, 1))
        return volume

    return run


if __name__ == "__main__":
    main()
