"""Runs test files on a host without pytest: python run_without_pytest.py test_bev_pool ...

It stands in for the few things of pytest that these files use: parametrize, param, mark.skipif,
fixture `device`, raises, skip, importorskip. On a machine with pytest, use pytest.
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import re
import sys
import traceback
import types
from contextlib import contextmanager
from pathlib import Path

import torch


class SkipError(Exception):
    pass


def skip(reason: str) -> None:
    raise SkipError(reason)


def import_or_skip(name: str):
    try:
        return importlib.import_module(name)
    except ImportError:
        skip(f"{name} is not installed")


@contextmanager
def raises(expected, match: str = ""):
    try:
        yield
    except expected as error:
        if not re.search(match, str(error)):
            raise AssertionError(f"{error!r} does not match {match!r}") from error
        return
    raise AssertionError(f"did not raise {expected}")


class Mark:
    """pytest.mark: keeps parametrize and skipif, ignores the rest."""

    def parametrize(self, name: str, values):
        def keep(function):
            function.parameters = [(name, list(values)), *getattr(function, "parameters", [])]
            return function

        return keep

    def skipif(self, condition: bool, reason: str):
        def keep(function):
            if condition:
                function.skip_reason = reason
            return function

        return keep

    def __getattr__(self, name: str):
        return lambda function: function


def make_pytest() -> types.ModuleType:
    module = types.ModuleType("pytest")
    module.mark, module.raises, module.skip = Mark(), raises, skip
    module.importorskip = import_or_skip
    return module


def run_test(function, arguments: dict) -> str:
    try:
        if hasattr(function, "skip_reason"):
            skip(function.skip_reason)
        function(**arguments)
    except SkipError:
        return "skipped"
    except Exception:
        print(f"FAILED {function.__name__} {arguments}")
        traceback.print_exc()
        return "failed"
    return "passed"


def main(names: list[str]) -> int:
    sys.modules["pytest"] = make_pytest()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name in names:
        path = Path(__file__).with_name(f"{name}.py")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except SkipError as reason:
            print(f"{name}: {reason}")
            counts["skipped"] += 1
            continue
        marks = getattr(module, "pytestmark", [])
        for function in [f for n, f in vars(module).items() if n.startswith("test_")]:
            for mark in marks:
                mark(function)
            parameters = getattr(function, "parameters", [])
            if "device" in inspect.signature(function).parameters:
                devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
                parameters = [*parameters, ("device", devices)]
            keys = [key for key, _ in parameters]
            for values in itertools.product(*(v for _, v in parameters)):
                counts[run_test(function, dict(zip(keys, values, strict=True)))] += 1
    print(", ".join(f"{count} {what}" for what, count in counts.items()))
    return int(counts["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
