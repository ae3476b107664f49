"""onnxruntime: runs every form, on any CPU, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bevdepth_plus.deploy.backends.graphs import Array, Graph, GraphBackend
from bevdepth_plus.deploy.packages import require_package
from bevdepth_plus.errors import DataError

# Graphs that add by ScatterND. onnxruntime's threads add into one cell without a lock and lose sums
# (github.com/microsoft/onnxruntime/issues/18048).
SCATTERING = ("model.onnx", "pool.onnx")


class OnnxBackend(GraphBackend):
    """An exported model in onnxruntime, see :class:`GraphBackend`.

    Args:
        folder: what ``tools/export_onnx.py`` wrote.
        threads: of one operator; 0: as many as there are cores. What adds by scatter runs on one:
            the pooling, and the whole model in the ``one`` form.
        providers: onnxruntime's execution providers, the first that works is used.

    Raises:
        DataError: onnxruntime is not installed, or a file is missing, damaged or does not load.
    """

    def __init__(
        self,
        folder: str | Path,
        threads: int = 0,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
    ) -> None:
        self._onnxruntime = require_package("onnxruntime", "onnx")
        self._threads = threads
        self._providers = list(providers)
        super().__init__(folder, forms=("one", "gather", "parts"))

    def _load(self, path: Path) -> Graph:
        options = self._onnxruntime.SessionOptions()
        scatters = path.name in SCATTERING and self.description.form != "gather"
        options.intra_op_num_threads = 1 if scatters else self._threads
        # Threads that spin between operators take the cores that other processes need.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        try:
            session = self._onnxruntime.InferenceSession(
                str(path), options, providers=self._providers
            )
        except Exception as error:  # onnxruntime has a class of its own for each status
            reason = " ".join(str(error).split())
            raise DataError(
                f"{path} does not load in onnxruntime {self._onnxruntime.__version__}: "
                f"{reason:.300}"
            ) from None
        return _Session(session)


class _Session:
    def __init__(self, session: Any) -> None:
        self._session = session
        self.inputs = [value.name for value in session.get_inputs()]
        self._outputs = [value.name for value in session.get_outputs()]

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        results = self._session.run(self._outputs, dict(feeds))
        return dict(zip(self._outputs, results, strict=True))
