"""What a command-line tool needs where no training stack is installed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from bevdepth_plus.errors import DataError

T = TypeVar("T")
LINE_EVERY = 10.0  # seconds, where there is no tqdm


def run_light_tool(main: Callable[[], None]) -> None:
    """Call a tool's ``main``; errors a user can mend end in one line and exit status 2.

    As ``engine.launch.run_tool``, without torch.
    """
    name = Path(sys.argv[0]).name
    try:
        main()
    except DataError as error:
        print(f"{name}: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        sys.exit(130)


def progress(steps: Iterable[T], total: int | None, unit: str) -> Iterator[T]:
    """The steps, with a bar on the error output; lines where tqdm is not installed."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield from _lines(steps, total, unit)
        return
    yield from tqdm(steps, total=total, unit=unit)


def _lines(steps: Iterable[T], total: int | None, unit: str) -> Iterator[T]:
    beat = time.monotonic()
    for done, step in enumerate(steps):
        if time.monotonic() - beat >= LINE_EVERY:
            beat = time.monotonic()
            of = "" if total is None else f" of {total}"
            print(f"{unit}s: {done}{of}", file=sys.stderr, flush=True)
        yield step
