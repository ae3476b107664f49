"""What benchmarks that train share: variants x seeds, trained, tested, collected, resumed.

A benchmark names its *variants* (a config and what differs from it) and its *test sets* and calls
:func:`run_benchmark`. Every run is a training by ``tools/train.py`` and one ``tools/test.py`` a
test set, as subprocesses; what they report goes into one results file, written after every test.
Run the same command again and it goes on: finished tests are not repeated, a training that was
stopped resumes. A run whose config has changed since is a new run: its folder carries a hash of it.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from single_run import Run, Tools, config_hash, environment
from training_report import summary
from training_variants import REPO, TestSet, Variant, training_config

from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.submission import write_json_atomically

_SECONDS_BETWEEN_REPORTS = 60.0


class Benchmark:
    """The table of runs, its results file, and the work still to do.

    Args:
        name: in the results file.
        variants, tests: the table; ``seeds`` are trained for each variant.
        steps: length of each training; None keeps each config's own.
        common: overrides for every variant, over its own.
        command: how to repeat this, for the results file.
        out: results file, taken up where it exists.
        work_dir: folder of the trainings.
        tools: commands that train and test.
        say: where progress lines go.
    """

    def __init__(
        self,
        name: str,
        variants: Sequence[Variant],
        tests: Sequence[TestSet],
        seeds: Sequence[int],
        steps: int | None,
        out: Path,
        work_dir: Path,
        common: Mapping | None = None,
        command: str = "",
        tools: Tools | None = None,
        say: Callable[[str], None] = lambda line: print(line, flush=True),
    ) -> None:
        self.tools = tools or Tools()
        self.tests, self.out, self.say = tests, out, say
        self.results = json.loads(out.read_text()) if out.is_file() else {}
        self.results.update(benchmark=name, command=command)
        self.results.setdefault("runs", {})
        earlier = {int(seed) for entries in self.results["runs"].values() for seed in entries}
        table = {
            (seed, v.name): Run(
                v, seed, training_config(v, seed, steps, common), work_dir, self.tools
            )
            for seed in sorted(earlier | set(seeds))
            for v in variants
        }
        self._hashes = {key: run.hash for key, run in table.items()}
        # Seeds outermost: every variant has its first result before any has its second.
        self.runs = [table[seed, v.name] for seed in seeds for v in variants]
        self._lock = threading.Lock()
        self._waiting = [run for run in self.runs if self._missing(run)]
        self._active: list[Run] = []
        self._seconds_a_step: list[float] = []

    def work(self, jobs: int = 1) -> list[str]:
        """Do what is missing, ``jobs`` runs at once; returns a line for each run that failed."""
        self.say(f"{len(self.runs)} runs, {len(self._waiting)} of them to do -> {self.out}")
        stop = threading.Event()
        reporter = threading.Thread(target=self._report_regularly, args=(stop, jobs), daemon=True)
        reporter.start()
        try:
            with ThreadPoolExecutor(jobs) as pool:
                futures = [pool.submit(self._do, run) for run in list(self._waiting)]
                try:
                    failures = [future.result() for future in futures]
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    self.tools.stop()
                    raise
        finally:
            stop.set()
            self._write()
        return [failure for failure in failures if failure]

    def _do(self, run: Run) -> str | None:
        with self._lock:
            self._active.append(run)
            self._waiting.remove(run)
        try:
            self._train(run)
            for test in self._missing(run):
                self._store(run, test, run.test(test))
        except (DataError, OSError, ValueError) as error:
            self.say(f"{run.name}: FAILED: {error}")
            return f"{run.name}: {error}"
        finally:
            with self._lock:
                self._active.remove(run)
        return None

    def _train(self, run: Run) -> None:
        entry = self._entry(run)
        if run.trained():
            return
        before = run.step()
        self.say(f"{run.name}: training from step {before} of {run.steps} in {run.folder}")
        seconds = run.train()
        if run.steps > before:
            self._seconds_a_step.append(seconds / (run.steps - before))
        with self._lock:
            entry.update(environment(), train_wall_s=round(entry["train_wall_s"] + seconds, 1))

    def _entry(self, run: Run) -> dict[str, Any]:
        """This run's entry in the results; one of another config gives way."""
        seeds = self.results["runs"].setdefault(run.variant.name, {})
        if seeds.get(str(run.seed), {}).get("hash") != run.hash:
            seeds[str(run.seed)] = run.entry()
        return seeds[str(run.seed)]

    def _missing(self, run: Run) -> list[TestSet]:
        entry = self.results["runs"].get(run.variant.name, {}).get(str(run.seed), {})
        done = entry.get("tests", {}) if entry.get("hash") == run.hash else {}
        return [
            test
            for test in self.tests
            if done.get(test.name, {}).get("hash") != config_hash(run.test_config(test))
        ]

    def _store(self, run: Run, test: TestSet, cell: dict[str, Any]) -> None:
        with self._lock:
            self._entry(run)["tests"][test.name] = cell
        self._write()
        scores = ", ".join(f"{k} {v:.3f}" for k, v in cell["metrics"].items() if k in _SHOWN)
        self.say(f"{run.name} on {test.name}: {scores}")

    def _write(self) -> None:
        with self._lock:
            self.results["summary"] = summary(self._comparable())
            self.out.parent.mkdir(parents=True, exist_ok=True)
            write_json_atomically(self.results, self.out, indent=1)

    def _comparable(self) -> dict[str, dict[str, Any]]:
        """All runs but those of variants that have another config or length in this table."""
        return {
            variant: {
                seed: entry
                for seed, entry in seeds.items()
                if self._hashes.get((int(seed), variant), entry["hash"]) == entry["hash"]
            }
            for variant, seeds in self.results["runs"].items()
        }

    def _report_regularly(self, stop: threading.Event, jobs: int) -> None:
        started, first = time.monotonic(), {}
        while not stop.wait(_SECONDS_BETWEEN_REPORTS):
            with self._lock:
                active, waiting = list(self._active), list(self._waiting)
            steps = {run.name: run.step() for run in active}
            for name, step in steps.items():
                first.setdefault(name, (step, time.monotonic()))
            pace = list(self._seconds_a_step)
            for name, (step, since) in first.items():
                if steps.get(name, 0) > step:
                    pace.append((time.monotonic() - since) / (steps[name] - step))
            line = ", ".join(f"{run.name} {steps[run.name]}/{run.steps}" for run in active)
            if pace:
                left = sum(run.steps - steps[run.name] for run in active)
                left += sum(run.steps - run.step() for run in waiting)
                minutes = left * sum(pace) / len(pace) / jobs / 60
                line += f"; about {minutes:.0f} min of training left"
            self.say(f"[{(time.monotonic() - started) / 60:.0f} min] {line}")


_SHOWN = ("mAP", "NDS", "mAVE", "depth/bin/abs_rel", "depth/metric/abs_rel", "depth/fused/abs_rel")


def add_arguments(
    parser: argparse.ArgumentParser,
    name: str,
    seeds: Sequence[int],
    data: str = "data/synthetic",
) -> None:
    """The options all benchmarks that train have in common."""
    default = REPO / "benchmarks/results" / f"{name}.json"
    parser.add_argument("--out", type=Path, default=default, help="results file")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs") / name)
    parser.add_argument(
        "--data",
        default=data,
        help="data root of the trainings, relative to the repository (default: %(default)s)",
    )
    parser.add_argument("--only", help="comma-separated variants (default: all)")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--steps", type=int, help="of each training (default: the config's)")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run")


def chosen(variants: Sequence[Variant], only: str | None) -> list[Variant]:
    """The variants that ``--only`` names.

    Raises:
        DataError: a name is unknown.
    """
    if only is None:
        return list(variants)
    known = {variant.name: variant for variant in variants}
    unknown = [name for name in only.split(",") if name not in known]
    if unknown:
        raise DataError(f"--only: no variant {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in only.split(",")]


def run_benchmark(
    name: str, variants: Sequence[Variant], tests: Sequence[TestSet], args: argparse.Namespace
) -> tuple[dict[str, Any], int]:
    """Run a benchmark from parsed options; returns its results and the exit status.

    Raises:
        DataError: an unknown variant, or the training data are not there.
    """
    info_file = REPO / args.data / "bevdepth_plus_infos_train.pkl"
    if not info_file.is_file():
        raise DataError(f"{info_file} does not exist: the first steps of tools/demo.sh make it")
    steps = f" --steps {args.steps}" if args.steps else ""
    benchmark = Benchmark(
        name,
        chosen(variants, args.only),
        tests,
        args.seeds,
        args.steps,
        args.out,
        args.work_dir.resolve(),
        common=dict(train_dataloader=dict(dataset=dict(data_root=f"{args.data}/"))),
        command=f"python benchmarks/{name}.py --seeds {' '.join(map(str, args.seeds))}{steps}",
        tools=Tools(threads=args.threads),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it started ends too
    failures = benchmark.work(args.jobs)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return benchmark.results, 1 if failures else 0
