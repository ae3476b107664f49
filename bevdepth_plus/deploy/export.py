"""Trace a detector into ONNX graphs of standard operators, with calibration as an input.

Three forms:

    one      model.onnx: images and calibration to the heads' maps
    parts    cameras.onnx, image.onnx, depth.onnx (see ``cutting``), pool.onnx, bev.onnx
    gather   as parts, with a pooling that needs no scatter but index arrays (see ``gather_index``)
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from bevdepth_plus.deploy.cutting import CALIBRATION, IMAGES, cut_image_part
from bevdepth_plus.deploy.describe import CAMERA_RANGE, output_names
from bevdepth_plus.deploy.gather_index import gather_index
from bevdepth_plus.deploy.parts import (
    BEVPart,
    GatherPool,
    ImagePart,
    OneGraph,
    ScatterPool,
    check_exportable,
)
from bevdepth_plus.deploy.translations import (
    DEFORMABLE,
    custom_translations,
    traceable_deformable_convolution,
)
from bevdepth_plus.deploy.verify import adding_scatters
from bevdepth_plus.errors import DataError
from bevdepth_plus.models.detector import BEVDepth

_TRACED_CAMERAS = 3  # an example of one would fix the number
_ONE_FILE_LIMIT = 1_900_000_000  # bytes; protobuf ends at 2 GiB, larger weights go beside the graph
_ONE_THREAD = (
    "set intra_op_num_threads = 1: several threads of onnxruntime lose sums of ScatterND with "
    "addition (github.com/microsoft/onnxruntime/issues/18048)"
)


def export_graphs(
    detector: BEVDepth,
    form: str = "one",
    deformable: str = "DeformConv",
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, onnx.ModelProto]:
    """The graphs of a form, by file name.

    Args:
        detector: in evaluation mode, on the CPU.
        form: ``"one"``, ``"parts"`` or ``"gather"``.
        deformable: what a deformable convolution becomes, ``"DeformConv"`` or ``"GridSample"``.
        say: gets a line before each step.

    Raises:
        DataError: the detector cannot be exported; which part, and what to do.
    """
    check_exportable(detector)
    tracer = _Tracer(detector, deformable)
    if form == "one":
        say("tracing the whole model")
        return {"model.onnx": tracer.one_graph()}
    say("tracing the image part")
    parts = {f"{name}.onnx": part for name, part in cut_image_part(tracer.image_part()).items()}
    say("tracing the pooling")
    parts["pool.onnx"] = tracer.scatter_pool() if form == "parts" else tracer.gather_pool()
    say("tracing the BEV part")
    return {**parts, "bev.onnx": tracer.bev_part()}


class _Tracer:
    """Traces each module of ``parts`` with example inputs of the detector's sizes."""

    def __init__(self, detector: BEVDepth, deformable: str) -> None:
        self.detector = detector
        self.deformable = deformable
        self.cameras = Dim("cameras", min=CAMERA_RANGE[0], max=CAMERA_RANGE[1])
        frustum = detector.view_transform.frustum
        self.cells = len(frustum.v), len(frustum.u)
        self.bins = len(frustum.depths)
        self.channels = detector.depth.context_channels
        self.bev_size = frustum.grid.bev_size

    def one_graph(self) -> onnx.ModelProto:
        moments = self.detector.temporal.num_frames
        *matrices, images = (
            example.expand(moments, *example.shape).contiguous() for example in self._cameras()
        )
        to_grid = torch.rand(moments, _TRACED_CAMERAS, 3, 4)
        named = dict(zip(CALIBRATION, matrices, strict=True), pixel_to_grid=to_grid, images=images)
        dynamic = {name: {1: self.cameras} for name in named}
        outputs = [*output_names(self.detector), "depth_map"]
        return self._traced(OneGraph(self.detector), named, dynamic, outputs)

    def image_part(self) -> onnx.ModelProto:
        names: list[str] = [*CALIBRATION, IMAGES]
        named: dict[str, Tensor] = dict(zip(names, self._cameras(), strict=True))
        dynamic = {name: {0: self.cameras} for name in named}
        outputs = ["depth", "context", "depth_map"]
        return self._traced(ImagePart(self.detector), named, dynamic, outputs)

    def scatter_pool(self) -> onnx.ModelProto:
        named = dict(self._lifted(), pixel_to_grid=torch.rand(_TRACED_CAMERAS, 3, 4))
        dynamic = {name: {0: self.cameras} for name in named}
        return self._traced(ScatterPool(self.detector.view_transform), named, dynamic, ["bev"])

    def gather_pool(self) -> onnx.ModelProto:
        pool = GatherPool(self.detector.view_transform)
        num_cells = self.bev_size[0] * self.bev_size[1]
        cells = torch.randint(num_cells, (_TRACED_CAMERAS, 1, *self.cells), dtype=torch.int32)
        cells = cells.expand(-1, self.bins, -1, -1)
        index = {n: torch.from_numpy(a) for n, a in gather_index(cells.numpy(), num_cells).items()}
        dynamic: dict[str, Any] = {name: {0: self.cameras} for name in ("depth", "context")}
        slots, widest = Dim("slots", min=1), Dim("runs", min=1)
        for name in ("first_bin", "last_bin"):
            dynamic[name] = {0: self.cells[1] * self.cameras, 1: slots}
        for name in ("rows_1", "rows_4", "rows_16", "rows_all"):
            dynamic[name] = {0: Dim(name, min=1)}
        dynamic["rows_all"][1] = widest
        dynamic["cell_rows"] = {}
        return self._traced(pool, dict(self._lifted(), **index), dynamic, ["bev"])

    def bev_part(self) -> onnx.ModelProto:
        channels = self.channels * self.detector.temporal.num_frames
        named = dict(bevs=torch.rand(1, channels, *self.bev_size))
        return self._traced(BEVPart(self.detector), named, {}, output_names(self.detector))

    def _traced(
        self,
        module: nn.Module,
        inputs: Mapping[str, Tensor],
        dynamic: Mapping[str, Any],
        outputs: Sequence[str],
    ) -> onnx.ModelProto:
        return trace(module, inputs, dynamic, outputs, self.deformable)

    def _cameras(self) -> tuple[Tensor, ...]:
        """Intrinsics, ego_T_cam, image_aug and images of some cameras."""
        height, width = self.detector.image_size
        size = (_TRACED_CAMERAS, 3, height, width)
        intrinsics = torch.tensor([[500.0, 0, width / 2], [0, 500, height / 2], [0, 0, 1]])
        pose = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
        matrices = (intrinsics, pose, torch.eye(3))
        stacked = (matrix.repeat(_TRACED_CAMERAS, 1, 1) for matrix in matrices)
        return *stacked, torch.randint(256, size, dtype=torch.uint8)

    def _lifted(self) -> dict[str, Tensor]:
        depth = torch.rand(_TRACED_CAMERAS, self.bins, *self.cells)
        return dict(depth=depth, context=torch.rand(_TRACED_CAMERAS, self.channels, *self.cells))


def trace(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    dynamic: Mapping[str, Any],
    outputs: Sequence[str],
    deformable: str = "DeformConv",
) -> onnx.ModelProto:
    """One module as a graph of standard operators.

    Args:
        inputs: examples, by name.
        dynamic: by input, axis -> ``torch.export.Dim``.
        outputs: names.
        deformable: as in :func:`export_graphs`.

    Raises:
        DataError: an operator has no translation, or the module cannot be traced.
    """
    with torch.no_grad(), _quiet(), traceable_deformable_convolution(deformable):
        try:
            program: Any = torch.onnx.export(
                module.eval(),
                kwargs=dict(inputs),
                dynamo=True,
                opset_version=DEFORMABLE[deformable],
                dynamic_shapes=dict(dynamic) or None,
                input_names=list(inputs),
                output_names=list(outputs),
                custom_translation_table=custom_translations(),
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise DataError(_why(error)) from error
    return _plain(program.model_proto)


def save(graphs: Mapping[str, onnx.ModelProto], folder: Path) -> None:
    """Write the graphs; weights beyond protobuf's limit go into a file of their own."""
    for name, model in graphs.items():
        if adding_scatters(model.graph):
            model.metadata_props.add(key="onnxruntime", value=_ONE_THREAD)
        large = model.ByteSize() > _ONE_FILE_LIMIT
        onnx.save(
            model,
            folder / name,
            save_as_external_data=large,
            all_tensors_to_one_file=True,
            location=f"{name}.data",
        )


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without the tracer's notes (stack traces with paths of this machine).

    Raises:
        DataError: it uses operators beyond the standard.
    """
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    other = sorted({f"{node.domain}::{node.op_type}" for node in model.graph.node if node.domain})
    if other or model.functions:
        raise DataError(
            f"the graph has operators beyond ONNX's standard: {', '.join(other)}; replace the "
            "module that needs them, or add a translation to bevdepth_plus/deploy/translations.py"
        )
    return model


def _why(error: BaseException) -> str:
    """One line about a failed export; the operator that is not known, where that is the reason."""
    text, cause = str(error), error
    while cause.__cause__ is not None:
        cause = cause.__cause__
        text += f"\n{cause}"
    unknown = re.search(r"No ONNX function found for <OpOverload\(op='([^']+)'", text)
    if unknown:
        return (
            f"the model uses {unknown[1]}, which has no translation to ONNX; replace the module "
            "that calls it, or add one to bevdepth_plus/deploy/translations.py"
        )
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"the model cannot be traced: {lines[0] if lines else type(cause).__name__:.300}"


@contextmanager
def _quiet():
    """Without what the exporter says about packages and operators that are not asked for."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
