"""The whole detector on a GPU, in one command: python benchmarks/gpu_model.py [--wheels FOLDER]

Where `make setup` was run, its Python is used as it is. On a bare host (torch with CUDA,
torchvision, numba, OpenCV, nvcc, no network) `--wheels` names a folder that
benchmarks/gpu_host/fetch_wheels.py filled: packages, op and data set are then made in `--work`.
A second run finds them there.

Stages: CPU against GPU; a training step in fp32, tf32, fp16, bf16, and a prediction, with the time
of each part and peak memory; launches, waits and longest kernels; the same weights run the
reference way; tools/train.py and tools/test.py. The JSON is written after every stage.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from detector_timing.worker import Worker  # noqa: E402
from gpu_host.prepare import Host, PreparationError, prepare  # noqa: E402
from gpu_host.tools_run import train_amp, train_and_test  # noqa: E402

from bevdepth_plus.files import write_json  # noqa: E402

TOOLS = {"tools/train_and_test": train_and_test, "tools/train_amp": train_amp}
TOOL_SECONDS = 75.0
STAGE_SECONDS = 75.0  # the longest a stage may take; the first also imports and builds
FACTS = """
import json, torch
cuda = torch.cuda.is_available()
print(json.dumps(dict(
    torch=torch.__version__, cuda=torch.version.cuda, cudnn=torch.backends.cudnn.version(),
    gpu=torch.cuda.get_device_name() if cuda else None,
    capability="{}.{}".format(*torch.cuda.get_device_capability()) if cuda else None,
    gpu_memory_gib=torch.cuda.get_device_properties(0).total_memory / 2**30 if cuda else None,
)))
"""


class Report:
    """The JSON file: whole after every entry, and never without the earlier ones."""

    def __init__(self, path: Path, facts: Mapping[str, Any]) -> None:
        self.path = path
        self.entries: dict[str, Any] = {**facts, "stages": {}}
        self.write()

    def add(self, stage: str, outcome: Mapping[str, Any]) -> None:
        self.entries["stages"][stage] = dict(outcome)
        self.write()
        print(f"== {stage}: {summary(outcome)}", flush=True)

    def write(self) -> None:
        write_json(self.path, writable(self.entries), indent=1)


def summary(outcome: Mapping[str, Any]) -> str:
    """One line of a stage's outcome, with the times or differences in it."""
    words = [outcome["status"]]
    if "seconds" in outcome:
        words.append(f"in {outcome['seconds']} s")
    result = outcome.get("result") or {}
    for name, entry in (("", result), *result.items()):
        if isinstance(entry, Mapping) and "median_ms" in entry:
            words.append(f"{name} {entry['median_ms']} ms, {entry['peak_memory_gib']} GiB;")
    if "outputs" in result:
        words.append(str(result))
    if outcome["status"] == "failed":
        words.append(outcome["reason"].strip().splitlines()[-1])
    return " ".join(filter(None, words))


def writable(value: Any) -> Any:
    """NaN and infinities as words: JSON has none."""
    if isinstance(value, Mapping):
        return {str(key): writable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [writable(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("gpu_model.json"))
    parser.add_argument("--work", type=Path, default=ROOT / "work_dirs" / "gpu_model")
    parser.add_argument("--wheels", type=Path, help="of a bare host; default: this Python has all")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--small", action="store_true", help="a tiny setting, to try the script")
    parser.add_argument("--limit", type=float, default=240.0, help="seconds; then it ends")
    parser.add_argument(
        "--stages", nargs="+", metavar="NAME", help="a stage's name or its beginning, as train/fp16"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    started = time.monotonic()
    args = parse_args(arguments)
    facts = host_facts()
    if args.device == "cuda" and facts["gpu"] is None:
        print("gpu_model: PyTorch sees no CUDA device (--device cpu --small tries the script)",
              file=sys.stderr)  # fmt: skip
        return 2
    report = Report(args.out.resolve(), {**facts, "arguments": arguments or sys.argv[1:]})
    host = make_host(args, facts)
    try:
        prepare(host)
    except PreparationError as error:
        report.add("prepare", {"status": "failed", "reason": str(error)})
        return 1
    report.add("prepare", {"status": "done", "seconds": round(time.monotonic() - started, 1)})
    return run_stages(args, host, report, started + args.limit)


def make_host(args: argparse.Namespace, facts: Mapping[str, Any]) -> Host:
    small = dict(scenes=(1, 1), keyframes=2, image_size=(160, 90)) if args.small else {}
    capability = facts["capability"] if args.device == "cuda" else None
    wheels = args.wheels.resolve() if args.wheels else None
    return Host(args.work.resolve(), wheels, capability, **small)


def run_stages(args: argparse.Namespace, host: Host, report: Report, deadline: float) -> int:
    """All stages that were asked for, while there is time; returns the exit status."""
    environment = host.environment()
    if args.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    setting, batches = bench_setting(args, host)

    def at_most(seconds: float) -> float:
        slower = 8 if args.device == "cpu" else 1
        return min(seconds * slower, deadline - time.monotonic())

    worker = Worker(environment, setting, batches)
    steps, batch = (2, 1) if args.small else (24, 4)
    with ThreadPoolExecutor() as pool:
        tools = {
            name: pool.submit(tool, host.work, environment, steps, batch, at_most(TOOL_SECONDS))
            for name, tool in TOOLS.items()
            if asked_for(name, args)
        }
        try:
            chosen = [name for name in worker.names() if asked_for(name, args)]
        except RuntimeError as error:
            report.add("start", {"status": "failed", "reason": str(error)})
            chosen = []
        for name in chosen:
            if not name.startswith("agreement/devices"):
                collect(tools, report)  # what is timed runs alone
            if time.monotonic() > deadline:
                report.add(name, {"status": "skipped", "reason": "the --limit was reached"})
                continue
            report.add(name, worker.run(name, at_most(STAGE_SECONDS)))
        collect(tools, report)
    worker.stop()
    outcomes = report.entries["stages"]
    bad = [
        name for name, outcome in outcomes.items() if outcome["status"] not in ("done", "skipped")
    ]
    print(f"gpu_model: {'FAILED: ' + ', '.join(bad) if bad else 'done'}; written to {report.path}")
    return int(bool(bad))


def asked_for(name: str, args: argparse.Namespace) -> bool:
    return not args.stages or name.startswith(tuple(args.stages))


def collect(tools: dict[str, Future], report: Report) -> None:
    """Waits for the tools' runs and writes how they ended."""
    for name in list(tools):
        try:
            result = tools.pop(name).result()
            ended_well = all(run["exit_status"] == 0 for run in result.values())
            status = {"status": "done" if ended_well else "failed"}
            reason = {} if ended_well else {"reason": "a tool failed, see output_end"}
            report.add(name, {**status, **reason, "result": result})
        except Exception as error:
            report.add(name, {"status": "failed", "reason": repr(error)})


def bench_setting(args: argparse.Namespace, host: Host) -> tuple[dict, tuple]:
    """Arguments of the Bench, and the batch sizes of training and prediction."""
    config = "synthetic_small.py" if args.small else "bevdepth_r50_256x704_24e.py"
    setting = dict(
        config=ROOT / "configs" / config, data_root=host.data, device=args.device,
        options=small_options() if args.small else {},
        repeats=2 if args.small else 7, warm_up=1 if args.small else 4,
    )  # fmt: skip
    return setting, ((2, (1, 2)) if args.small else (8, (1, 8)))


def small_options() -> dict:
    """The demo's detector with fewer channels, and the deformable convolution it leaves out."""
    return {
        "model.depth.depth_net.use_dcn": True,
        "model.depth.depth_net.mid_channels": 16,
        "model.image_encoder.backbone.base_channels": 8,
        "model.temporal.encoder.backbone.base_channels": 8,
    }


def host_facts() -> dict[str, Any]:
    import json

    answer = subprocess.run(
        [sys.executable, "-c", FACTS], text=True, capture_output=True, check=True
    )
    facts = json.loads(answer.stdout.splitlines()[-1])
    return {**facts, "python": platform.python_version(), "cpu_cores": os.cpu_count()}


if __name__ == "__main__":
    sys.exit(main())
