"""The table of an experiment: variants x seeds, trained, tested, collected and resumed.

An experiment names its *variants* (a config and what differs from it) and its *test sets*. A run is
a training by ``tools/train.py`` and one ``tools/test.py`` for each test set, as subprocesses. What
they report goes into one results file, written after every test. The same command again goes on
where the last one stopped: finished tests are not repeated, a training that was stopped resumes.
A run whose config has changed since is a new run: its folder carries a hash of the config.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import write_json
from experiments.runner.report import summary
from experiments.runner.single_run import Run, Tools, config_hash, environment
from experiments.runner.variants import TestSet, Variant, training_config

_SECONDS_BETWEEN_REPORTS = 60.0
_SHOWN = ("mAP", "NDS", "mAVE", "depth/bin/abs_rel", "depth/metric/abs_rel", "depth/fused/abs_rel")
_SHOWN += ("depth_over_time/bin/order_agreement",)


class Experiment:
    """The table of runs, its results file, and the work still to do.

    Args:
        name: in the results file.
        variants, tests: the table; ``seeds`` are trained for each variant.
        steps: length of each training; None keeps each config's own.
        out: results file; an existing one is continued.
        work_dir: folder of the trainings.
        common: overrides for every variant, over its own.
        command: how to repeat this, for the results file.
        tools: commands that train and test.
        log: where progress lines go.
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
        log: Callable[[str], None] = lambda line: print(line, flush=True),
    ) -> None:
        self.tools = tools or Tools()
        self.tests, self.out, self.log = tests, out, log
        self.results = json.loads(out.read_text()) if out.is_file() else {}
        self.results.update(experiment=name, command=command)
        self.results.setdefault("runs", {})
        earlier = {int(seed) for entries in self.results["runs"].values() for seed in entries}
        self._table = {
            (seed, v.name): Run(
                v, seed, training_config(v, seed, steps, common), work_dir, self.tools
            )
            for seed in sorted(earlier | set(seeds))
            for v in variants
        }
        # Seeds outermost: every variant has its first result before any has its second.
        self.runs = [self._table[seed, v.name] for seed in seeds for v in variants]
        self._lock = threading.Lock()
        self._waiting = [run for run in self.runs if self._missing(run)]
        self._active: list[Run] = []
        self._seconds_a_step: list[float] = []

    def work(self, jobs: int = 1) -> list[str]:
        """Do what is missing, ``jobs`` runs at once; returns a line for each run that failed."""
        self.log(f"{len(self.runs)} runs, {len(self._waiting)} of them to do -> {self.out}")
        self._log_kept()
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

    def _log_kept(self) -> None:
        for run in self.runs:
            entry = self._recorded(run)
            if run not in self._waiting and not run.is_of(entry):
                self.log(
                    f"{run.name}: kept as recorded at commit {entry['commit']}; to train it again, "
                    "give another --out or delete its entry"
                )

    def _do(self, run: Run) -> str | None:
        with self._lock:
            self._active.append(run)
            self._waiting.remove(run)
        try:
            self._train(run)
            for test in self._missing(run):
                self._store(run, test, run.test(test))
        except (DataError, OSError, ValueError) as error:
            self.log(f"{run.name}: FAILED: {error}")
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
        self.log(f"{run.name}: training from step {before} of {run.steps} in {run.folder}")
        seconds = run.train()
        if run.steps > before:
            self._seconds_a_step.append(seconds / (run.steps - before))
        with self._lock:
            entry.update(environment(), train_wall_s=round(entry["train_wall_s"] + seconds, 1))

    def _entry(self, run: Run) -> dict[str, Any]:
        """This run's entry in the results; it replaces one of another config."""
        seeds = self.results["runs"].setdefault(run.variant.name, {})
        if not run.is_of(self._recorded(run)):
            seeds[str(run.seed)] = run.entry()
        return seeds[str(run.seed)]

    def _recorded(self, run: Run) -> dict[str, Any]:
        """The entry of this variant and seed, of whatever config; empty if there is none."""
        return self.results["runs"].get(run.variant.name, {}).get(str(run.seed), {})

    def _missing(self, run: Run) -> list[TestSet]:
        entry = self._recorded(run)
        if run.is_kept(entry) and all(test.name in entry["tests"] for test in self.tests):
            return []
        done = entry.get("tests", {}) if run.is_of(entry) else {}
        return [
            test
            for test in self.tests
            if done.get(test.name, {}).get("hash") != config_hash(run.test_config(test))
        ]

    def _store(self, run: Run, test: TestSet, result: dict[str, Any]) -> None:
        with self._lock:
            self._entry(run)["tests"][test.name] = result
        self._write()
        scores = ", ".join(f"{k} {v:.3f}" for k, v in result["metrics"].items() if k in _SHOWN)
        self.log(f"{run.name} on {test.name}: {scores}")

    def _write(self) -> None:
        with self._lock:
            self.results["summary"] = summary(self._comparable())
            self.out.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.out, self.results, indent=1)

    def _comparable(self) -> dict[str, dict[str, Any]]:
        """All runs but those of variants that have another config or length in this table."""
        return {
            variant: {
                seed: entry
                for seed, entry in seeds.items()
                if self._is_comparable(self._table.get((int(seed), variant)), entry)
            }
            for variant, seeds in self.results["runs"].items()
        }

    @staticmethod
    def _is_comparable(run: Run | None, entry: Mapping[str, Any]) -> bool:
        return run is None or run.is_of(entry) or run.is_kept(entry)

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
            self.log(f"[{(time.monotonic() - started) / 60:.0f} min] {line}")
