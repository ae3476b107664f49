"""A process that runs stages, so that a crash in one costs only that one."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any


class Worker:
    """Runs one stage after another in a process, which is started anew where it died or hung.

    Args:
        environment: of the process, beside this one's.
        setting: keyword arguments of :class:`Bench`.
        batches: arguments of :func:`stages`.
    """

    def __init__(self, environment: Mapping[str, str], setting: dict, batches: tuple) -> None:
        self.environment, self.setting, self.batches = environment, setting, batches
        self.process: Any = None
        self.connection: Any = None

    def names(self, seconds: float = 120.0) -> list[str]:
        """The stages that there are; the process has then imported everything.

        Raises:
            RuntimeError: it could not, see its output.
        """
        if self.process is None or not self.process.is_alive():
            self._start()
        with suppress(EOFError, OSError):
            if self.connection.poll(seconds):
                return self.connection.recv()
        self.stop()
        raise RuntimeError("the stages' process did not start, see its error above")

    def run(self, stage: str, seconds: float) -> dict[str, Any]:
        """What the stage returned, or how it failed; it never raises for a stage's sake."""
        started = time.monotonic()
        try:
            if self.process is None or not self.process.is_alive():
                self.names(seconds)
            self.connection.send(stage)
            if self.connection.poll(max(seconds, 0)):
                answer = self.connection.recv()
            else:
                self.stop()
                answer = {"status": "timed out"}
        except RuntimeError as error:
            answer = {"status": "failed", "reason": str(error)}
        except (EOFError, OSError):
            self.process.join()
            answer = {"status": "died", "reason": f"exit status {self.process.exitcode}"}
        return answer | {"seconds": round(time.monotonic() - started, 1)}

    def stop(self) -> None:
        if self.process is not None and self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.process = None

    def _start(self) -> None:
        os.environ.update(self.environment)
        # the new process takes over this one's sys.path, not PYTHONPATH
        paths = self.environment.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [path for path in paths if path and path not in sys.path]
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, self.setting, self.batches)
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        theirs.close()


def serve(connection: Connection, setting: dict, batches: tuple) -> None:
    """Says which stages there are, then answers each name with the stage's result."""
    warnings.filterwarnings("ignore", "`torch.jit")  # mmdet and mmdet3d script at import
    from bevdepth_plus.engine.launch import prepare_determinism

    from .bench import Bench
    from .stages import stages

    prepare_determinism()
    functions, bench = stages(*batches), Bench(**setting)
    connection.send(list(functions))
    while True:
        stage = connection.recv()
        try:
            connection.send({"status": "done", "result": functions[stage](bench)})
        except Exception:
            connection.send({"status": "failed", "reason": traceback.format_exc()[-3000:]})
            if not device_works(setting["device"]):
                return


def device_works(device: str) -> bool:
    """After some errors CUDA refuses everything in this process; else its memory is given back."""
    import torch

    if device != "cuda":
        return True
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError:
        return False
    return True
