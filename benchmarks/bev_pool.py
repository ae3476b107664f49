"""Pooling beside its peers, in one run: python benchmarks/bev_pool.py [--device cuda]

Every contender is run in turn, round after round, so that whatever else the machine does hits all
of them alike; a turn is one call that is not timed (it warms the caches) and one that is. Medians
and quartiles are over rounds. Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pool_geometry import frustum_arguments, make_cells
from pool_peers import (
    InsideIndexAdd,
    MaterialisedIndexAdd,
    ScipyProduct,
    SortAndIntervals,
    SparseProduct,
)
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from bevdepth_plus_ops import BEVPoolPlan, bev_pool, bev_pool_reference, frustum_cells
from bevdepth_plus_ops.native import MISSING_REASON

BEV = (128, 128)
CHANNELS = 80
# Peers that hold every point's feature are left out where that takes more than this.
MOST_PEER_BYTES = 3 * 2**30


def cpu_clock():
    """With one thread its processor time, which other processes do not disturb; else the wall's."""
    return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter


def seconds(call, device: str) -> float:
    if device == "cpu":
        clock = cpu_clock()
        start = clock()
        call()
        return clock() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def measure(calls: dict, device: str, rounds: int) -> dict[str, dict[str, float]]:
    """Median, quartiles and minimum of each call in milliseconds, measured in turn."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            times[name].append(1e3 * seconds(call, device))
    result = {}
    for name, values in times.items():
        low, median, high = statistics.quantiles(values, n=4)
        result[name] = {
            "median_ms": median, "quartile_1_ms": low, "quartile_3_ms": high, "min_ms": min(values),
        }  # fmt: skip
        if device != "cpu":
            result[name] |= kernel_times(calls[name])
    return result


def kernel_times(call, repeats: int = 10) -> dict:
    """Microseconds that one call keeps the GPU busy, in all and by kernel, from the profiler.

    Events around a short call measure the launches from Python; this does not.
    """
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        for _ in range(repeats):
            call()
        torch.cuda.synchronize()
    kernels = {
        kernel.key.replace("bevpool::(anonymous namespace)::", "")[:60]: round(
            kernel.self_device_time_total / repeats, 2
        )
        for kernel in profiler.key_averages()
        if kernel.self_device_time_total > 0
    }
    return {"kernel_us": round(sum(kernels.values()), 2), "kernels": kernels}


def peak_extra_bytes(call, device: str, kept: int) -> int:
    """Memory that `call` takes at its peak beyond the `kept` bytes of its results."""
    call()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return torch.cuda.max_memory_allocated() - before - kept
    status = Path("/proc/self/status")

    def kilobytes(field: str) -> int:
        line = next(row for row in status.read_text().splitlines() if row.startswith(field))
        return int(line.split()[1])

    ctypes.CDLL(None).malloc_trim(0)  # what malloc keeps for later would hide what is new
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = kilobytes("VmRSS")
    call()
    return max(0, (kilobytes("VmHWM") - before) * 1024 - kept)


def bandwidth(device: str) -> float:
    """Bytes a second of a large copy: what the byte floor is set against."""
    source = torch.empty(2**28 if device != "cpu" else 2**25, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    best = min(seconds(lambda: target.copy_(source), device) for _ in range(7))
    return 2 * source.numel() * 4 / best


def contenders(device: str, cells: Tensor, dtype: torch.dtype) -> dict[str, Callable]:
    """How each contender is made; some of them only where they can run."""
    found = {
        "ours, planned": lambda: BEVPoolPlan.from_cells(cells, BEV),
        "ours, no plan": lambda: lambda depth, context: bev_pool(depth, context, cells, BEV),
    }
    if 3 * cells.numel() * CHANNELS * 4 < MOST_PEER_BYTES:
        found["materialised index_add"] = lambda: MaterialisedIndexAdd(cells, BEV)
        found["the same, inside points only"] = lambda: InsideIndexAdd(cells, BEV)
        if dtype == torch.float32:
            found["sort and intervals"] = lambda: SortAndIntervals(cells, BEV)
    if device == "cpu" and dtype == torch.float32:
        found["torch.sparse CSR"] = lambda: SparseProduct(cells, BEV)
        found["scipy CSR, product only"] = lambda: ScipyProduct(cells, BEV, product_only=True)
        found["scipy CSR, with depth and layout"] = lambda: ScipyProduct(
            cells, BEV, product_only=False
        )
    if device == "cuda":
        from gpu_peers.peers import AtomicsKernel, IntervalKernel

        found["atomics kernel"] = lambda: AtomicsKernel(cells, BEV)
        found["interval kernel"] = lambda: IntervalKernel(cells, BEV)
    return found


def make_inputs(image: str, batch: int, dtype: torch.dtype, device: str) -> tuple[Tensor, ...]:
    """(cells, depth, context, gradient of the output)."""
    cells = make_cells(image, batch, device)
    generator = torch.Generator().manual_seed(0)
    shape = tuple(cells.shape)
    depth = torch.randn(shape, generator=generator).softmax(2).to(device, dtype)
    context = torch.randn(batch, 6, CHANNELS, *shape[3:], generator=generator).to(device, dtype)
    grad = torch.randn(batch, CHANNELS, *BEV, generator=generator).to(device, dtype)
    return cells, depth, context, grad


def run_default_malloc_case(image: str, batch: int, dtype: torch.dtype, rounds: int) -> dict:
    """The forward under glibc's defaults: large arrays go back to the system after each call."""
    cells, depth, context, _ = make_inputs(image, batch, dtype, "cpu")
    pools = {"ours, planned": BEVPoolPlan.from_cells(cells, BEV)}
    if 3 * cells.numel() * CHANNELS * 4 < MOST_PEER_BYTES:
        pools["materialised index_add"] = MaterialisedIndexAdd(cells, BEV)
    with torch.no_grad():
        calls = {name: lambda p=pool: p(depth, context) for name, pool in pools.items()}
        return {"forward": measure(calls, "cpu", rounds)}


def default_malloc_in_a_fresh_process(
    image: str, batch: int, dtype: str, threads: int, rounds: int
) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, __file__, "--default-malloc", "--device", "cpu"]
        command += ["--images", image, "--batches", str(batch), "--dtypes", dtype]
        command += ["--threads", str(threads), "--rounds", str(rounds), "--out", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(out.read_text())["cases"][0]["forward"]


def run_case(image: str, batch: int, dtype: torch.dtype, device: str, rounds: int) -> dict:
    cells, depth, context, grad = make_inputs(image, batch, dtype, device)
    pools, left_out = agreeing(contenders(device, cells, dtype), depth, context, cells)

    def backward(pool):
        inputs = (depth.detach().requires_grad_(), context.detach().requires_grad_())
        out = pool(*inputs)
        return lambda: torch.autograd.grad(out, inputs, grad, retain_graph=True)

    with torch.no_grad():
        forward = measure(
            {name: lambda p=pool: p(depth, context) for name, pool in pools.items()}, device, rounds
        )
    learns = {name: pool for name, pool in pools.items() if "scipy" not in name}
    learns.pop("torch.sparse CSR", None)  # has no gradient for the matrix's values here
    back = measure({name: backward(pool) for name, pool in learns.items()}, device, rounds)
    matrices, options, source = frustum_arguments(image, batch, device)
    index = measure(
        {
            "frustum_cells": lambda: frustum_cells(*matrices, **options),
            "making a plan": lambda: BEVPoolPlan.from_cells(cells, BEV),
            "frustum_cells + ours, no plan": lambda: bev_pool(
                depth, context, frustum_cells(*matrices, **options), BEV
            ),
        },
        device,
        rounds,
    )
    size = depth.element_size()
    reads = (depth.numel() + context.numel()) * size + cells.numel() * 4
    floor = {"forward": reads + grad.numel() * size}
    floor["backward"] = floor["forward"] + (depth.numel() + context.numel()) * size
    kept = (grad.numel() + depth.numel() + context.numel()) * size
    pool = pools["ours, no plan"]

    def both():
        inputs = (depth.detach().requires_grad_(), context.detach().requires_grad_())
        out = pool(*inputs)
        return out, torch.autograd.grad(out, inputs, grad)

    extra = peak_extra_bytes(both, device, kept)
    return {
        "image": image, "batch": batch, "dtype": str(dtype), "geometry": source,
        "points": cells.numel(), "points_inside": int((cells >= 0).sum()), "left_out": left_out,
        "forward": forward, "backward": back, "index": index, "floor_bytes": floor,
        "floor_ms": {k: 1e3 * v / bandwidth(device) for k, v in floor.items()},
        "peak_extra_bytes": extra, "input_and_output_bytes": reads + kept + grad.numel() * size,
    }  # fmt: skip


def agreeing(
    makers: dict[str, Callable], depth: Tensor, context: Tensor, cells: Tensor
) -> tuple[dict, dict[str, str]]:
    """The contenders that compute the definition, and why each other one is left out.

    A contender that computes something else has no time worth printing. A peer that cannot run here
    or rounds too much (index_add sums bfloat16 in bfloat16) does not end the run; ours does.
    """
    expected = bev_pool_reference(depth[:1].cpu(), context[:1].cpu(), cells[:1].cpu(), BEV)
    tolerance = 1e-4 if depth.dtype == torch.float32 else 0.15
    pools, left_out = {}, {}
    for name, make in makers.items():
        try:
            pool = make()
            with torch.no_grad():
                out = pool(depth, context)[:1].cpu()
        except Exception as error:
            if name.startswith("ours"):
                raise
            left_out[name] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            continue
        error = (out.float() - expected.float()).abs().max().item()
        if error < tolerance:
            pools[name] = pool
        elif name.startswith("ours"):
            raise RuntimeError(f"{name} is off by {error:.3g}, more than {tolerance}")
        else:
            left_out[name] = f"off by {error:.3g}, more than {tolerance}"
    return pools, left_out


def environment(device: str) -> dict:
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        processor = names[0].split(": ")[1] if names else processor
    found = {
        "python": platform.python_version(), "torch": torch.__version__, "processor": processor,
        "threads": torch.get_num_threads(), "load_average": os.getloadavg()[0],
        "clock": cpu_clock().__name__ if device == "cpu" else "CUDA events",
        "compiled_library": MISSING_REASON or "in use", "time": time.strftime("%Y-%m-%d %H:%M"),
    }  # fmt: skip
    if MISSING_REASON is None:
        found["instruction_set"] = torch.ops.bevdepth_plus_ops.cpu_instruction_set()
    if device == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found


def show(case: dict) -> None:
    print(f"\n{case['image']} batch {case['batch']} {case['dtype']} ({case['geometry']})")
    for part in ("forward", "forward_default_malloc", "backward", "index"):
        if part not in case:
            continue
        ours = case[part].get("ours, planned", {}).get("median_ms")
        for name, t in case[part].items():
            ratio = f"  {t['median_ms'] / ours:7.2f} x ours" if ours else ""
            spread = f"[{t['quartile_1_ms']:.3f}, {t['quartile_3_ms']:.3f}]"
            label, median = part.replace("forward_", ""), f"{t['median_ms']:10.3f} ms"
            busy = f"  kernels {t['kernel_us']:9.1f} us" if "kernel_us" in t else ""
            print(f"  {label:15}{name:34}{median} {spread:>20}{ratio}{busy}")
    for name, reason in case["left_out"].items():
        print(f"  left out: {name}: {reason}")
    share = case["peak_extra_bytes"] / case["input_and_output_bytes"]
    print(f"  floor {case['floor_ms']['forward']:.3f} ms forward, "
          f"{case['floor_ms']['backward']:.3f} ms backward; "
          f"peak extra memory {share:.2f} x inputs and outputs")  # fmt: skip


def keep_freed_memory() -> None:
    """Tells glibc's malloc not to return memory to the system between calls, for all contenders.

    Otherwise everybody's time is mostly the system's, handing the same pages out again. How much
    that is, `forward_default_malloc` says: the same calls in a process as glibc comes.
    """
    libc = ctypes.CDLL(None)
    trim_threshold, mmap_threshold, most = -1, -3, 2**31 - 1
    libc.mallopt(trim_threshold, most)
    libc.mallopt(mmap_threshold, most)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--images", nargs="+", default=["256x704", "640x1600"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--default-malloc", action="store_true",
                        help="only the forward of ours and index_add, as glibc comes")  # fmt: skip
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.device == "cpu" and not options.default_malloc:
        keep_freed_memory()
    results = {"environment": environment(options.device), "cases": []}
    out = options.out or Path(__file__).parent / "results" / f"bev_pool_{options.device}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    for image in options.images:
        for batch in options.batches:
            for dtype in options.dtypes:
                arguments = (image, batch, getattr(torch, dtype))
                if options.default_malloc:
                    case = run_default_malloc_case(*arguments, options.rounds)
                else:
                    case = run_case(*arguments, options.device, options.rounds)
                    if options.device == "cpu":
                        case["forward_default_malloc"] = default_malloc_in_a_fresh_process(
                            image, batch, dtype, options.threads, options.rounds
                        )
                    show(case)
                results["cases"].append(case)
                write(out, results)
    print(f"\nwritten to {out}")


def write(path: Path, results: dict) -> None:
    """After every case, whole or not at all: a run that is cut off leaves the finished ones."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(results, indent=1) + "\n")
    unfinished.replace(path)


if __name__ == "__main__":
    main()
