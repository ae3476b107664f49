"""OpenVINO: the fastest of the three on Intel CPUs, in float32 or bfloat16.

Only the network runs in bfloat16: ``image.onnx`` and ``bev.onnx``. Camera geometry, depth bins and
pooling are graphs of their own and stay in float32, see ``cutting``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bevdepth_plus.deploy.backends.graphs import Array, Graph, GraphBackend
from bevdepth_plus.deploy.packages import require_package
from bevdepth_plus.errors import DataError

PRECISIONS = ("f32", "bf16")
LOW_PRECISION = ("image.onnx", "bev.onnx")


class OpenVinoBackend(GraphBackend):
    """An exported model in OpenVINO, see :class:`GraphBackend`. Form ``parts`` alone.

    Args:
        folder: what ``tools/export_onnx.py --form parts --deformable GridSample`` wrote.
        precision: of the network, ``"f32"`` or ``"bf16"``. A CPU without bfloat16 runs float32;
            ``backend.precision`` says which it is.
        threads: 0: as many as there are cores.

    Raises:
        DataError: OpenVINO is not installed, a file is damaged, or an operator is not known.
    """

    def __init__(self, folder: str | Path, precision: str = "f32", threads: int = 0) -> None:
        if precision not in PRECISIONS:
            raise DataError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
        openvino = require_package("openvino", "openvino")
        self._core = openvino.Core()
        # A CPU without bfloat16 would emulate it, many times slower.
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = precision if "BF16" in capabilities else "f32"
        self._threads = {"INFERENCE_NUM_THREADS": threads} if threads else {}
        super().__init__(folder, forms=("parts",))

    def _load(self, path: Path) -> Graph:
        if path.name == "image.onnx" and self.description.deformable == "DeformConv":
            raise DataError(
                f"{self.folder}: OpenVINO has no DeformConv; export it with --deformable GridSample"
            )
        precision = self.precision if path.name in LOW_PRECISION else "f32"
        settings = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            **self._threads,
        }
        try:
            compiled = self._core.compile_model(str(path), "CPU", settings)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{path} does not load in OpenVINO: {reason:.300}") from None
        return _Compiled(compiled)


class _Compiled:
    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self.inputs = [value.get_any_name() for value in compiled.inputs]
        self._outputs = [value.get_any_name() for value in compiled.outputs]

    def __call__(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        results = self._request.infer(dict(feeds))  # copies, so that the next call may overwrite
        return {name: results[name] for name in self._outputs}
