#!/usr/bin/env python
"""Says what is installed, what is usable, and for each problem what to do about it.

    python tools/doctor.py

Exit status 1 when something that matters is broken.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.environment import ROOT, Finding, diagnose, inspect_environment, python_problem

MARKS = {"ok": "ok    ", "warn": "note  ", "broken": "BROKEN"}


def print_findings(findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        print(f"{MARKS[finding.state]} {finding.name:<{width}}  {finding.detail}")
        if finding.remedy:
            print(f"{'':<{width + 7}}  -> {finding.remedy}")


def main() -> int:
    problem = python_problem(sys.version_info[:3])
    if problem:
        print(problem, file=sys.stderr)
        return 1
    findings = diagnose(inspect_environment())
    print_findings(findings)
    broken = sum(finding.state == "broken" for finding in findings)
    if broken:
        print(f"\n{broken} of {len(findings)} checks found something broken: start with the first.")
        if (ROOT / ".venv").is_dir() and Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
            print(f"This is {sys.executable}; `make setup` installs into .venv/bin/python.")
        return 1
    print("\nAll that matters works.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
