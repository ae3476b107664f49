"""OpenMP threads that sleep while they wait: import this before torch.

Threads of OpenMP spin while they wait for the next piece of work. Beside another busy process they
take the cores from those they wait for, and the pooling op takes many times longer. Sleeping costs
some microseconds a piece on a machine with nothing else to do.

OpenMP reads the variables when its library is loaded, with torch. What the user has set is kept.
"""

from __future__ import annotations

import os

SETTINGS = {
    "GOMP_SPINCOUNT": "0",  # GNU's OpenMP, in the wheels of PyTorch
    "KMP_BLOCKTIME": "0",  # Intel's and LLVM's, in conda's
}


def let_threads_sleep() -> None:
    """Sets ``SETTINGS`` where neither they nor ``OMP_WAIT_POLICY`` are set."""
    if "OMP_WAIT_POLICY" in os.environ:  # would be overruled by them
        return
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


let_threads_sleep()
