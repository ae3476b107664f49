"""The options that all experiments have, and an experiment run from them."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bevdepth_plus.errors import DataError
from experiments.runner.experiment import Experiment
from experiments.runner.single_run import Tools
from experiments.runner.variants import REPO, TestSet, Variant


def add_arguments(
    parser: argparse.ArgumentParser,
    name: str,
    seeds: Sequence[int],
    data: str = "data/synthetic",
) -> None:
    """The options all experiments have in common."""
    default = REPO / "experiments" / name / "results.json"
    parser.add_argument("--out", type=Path, default=default, help="results file")
    parser.add_argument(
        "--report", action="store_true", help="train nothing: tables of the results file"
    )
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


def select(variants: Sequence[Variant], only: str | None) -> list[Variant]:
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


def read_results(path: Path) -> dict[str, Any]:
    """A results file.

    Raises:
        DataError: there is none.
    """
    if not path.is_file():
        raise DataError(f"results file {path} does not exist; leave out --report to make it")
    return json.loads(path.read_text())


def run_experiment(
    name: str,
    variants: Sequence[Variant],
    tests: Sequence[TestSet],
    args: argparse.Namespace,
    common: Mapping | None = None,
    module: str = "run",
) -> tuple[dict[str, Any], int]:
    """Run an experiment from parsed options; returns its results and the exit status.

    Args:
        name, variants, tests, args: see above.
        common: overrides of every variant; default: a detector's ``data_root`` is ``--data``.
        module: of the experiment that the command line is of.

    Raises:
        DataError: an unknown variant, or the training data are not there.
    """
    info_file = REPO / args.data / "bevdepth_plus_infos_train.pkl"
    if not info_file.is_file():
        raise DataError(f"{info_file} does not exist: the first steps of tools/demo.sh make it")
    steps = f" --steps {args.steps}" if args.steps else ""
    seeds = " ".join(map(str, args.seeds))
    experiment = Experiment(
        name,
        select(variants, args.only),
        tests,
        args.seeds,
        args.steps,
        args.out,
        args.work_dir.resolve(),
        common=_data_root(args.data) if common is None else common,
        command=f"python -m experiments.{name}.{module} --seeds {seeds}{steps}",
        tools=Tools(threads=args.threads),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it started ends too
    failures = experiment.work(args.jobs)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return experiment.results, 1 if failures else 0


def _data_root(root: str) -> dict:
    return dict(train_dataloader=dict(dataset=dict(data_root=f"{root}/")))
