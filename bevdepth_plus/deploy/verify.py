"""Hold exported files against PyTorch: cells, the heads' maps and boxes of the same inputs.

The files are run through the backend that users run, and compared with the detector's own forward
pass: native pooling, mmcv's deformable convolution, cells from ``frustum_cells``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from mmdet3d.structures import Det3DDataSample
from numpy.typing import NDArray
from torch import Tensor

from bevdepth_plus.deploy.backends.onnx import OnnxBackend
from bevdepth_plus.deploy.description import ModelDescription, Verification
from bevdepth_plus.deploy.geometry import frustum_cells, pixel_to_grid
from bevdepth_plus.deploy.packages import require_package
from bevdepth_plus.deploy.parts import head_outputs, named_maps, normalised
from bevdepth_plus.deploy.samples import Sample
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.models.detector import BEVDepth
from bevdepth_plus.models.heads.center_head import BEVCenterHead

TOLERANCE = 1e-3  # of the largest value of each map
SCORE_TOLERANCE = 1e-3
BOX_TOLERANCE = 1e-2  # metres, m/s and radians


def verify(
    detector: BEVDepth,
    folder: Path,
    samples: Iterable[Sample],
    inputs: str,
    say: Callable[[str], None] = lambda line: None,
) -> Verification:
    """Compare the files in a folder with the detector.

    Args:
        detector: in evaluation mode, on the CPU.
        folder: with the graphs and ``model.json``.
        inputs: what the samples are, for the report.
        say: gets a line for each sample.

    Raises:
        DataError: something does not agree; what, and by how much.
    """
    backend = OnnxBackend(folder)
    differences: dict[str, float] = {}
    num_samples = num_cells = num_boxes = 0
    for sample in samples:
        num_cells += _compare_cells(detector, backend.description, folder, sample)
        expected, depth_map = detector_maps(detector, sample)
        found, found_depth = backend.maps(
            sample.images, sample.intrinsics, sample.ego_T_cam, sample.image_aug, sample.mask
        )
        working = sample.mask[0]
        pairs = {name: (values.numpy(), found[name]) for name, values in expected.items()}
        pairs["depth_map"] = depth_map[working], found_depth[working]
        for name, (ours, theirs) in pairs.items():
            difference = _relative(ours, theirs)
            differences[name] = max(differences.get(name, 0.0), difference)
        worst = max(differences, key=lambda name: differences[name])
        if not differences[worst] <= TOLERANCE:  # NaN fails, too
            raise DataError(
                f"{worst} differs from PyTorch by {differences[worst]:.1e} of its largest value, "
                f"allowed is {TOLERANCE:g}; nothing was written"
            )
        num_boxes += _compare_boxes(detector, expected, found, sample)
        num_samples += 1
        say(
            f"sample {num_samples}: {sample.images.shape[1]} cameras, cells equal, largest "
            f"difference {differences[worst]:.1e} ({worst}), {num_boxes} boxes so far"
        )
    onnxruntime = require_package("onnxruntime", "export")
    return Verification(
        against=f"PyTorch {torch.__version__} and onnxruntime {onnxruntime.__version__}",
        inputs=inputs,
        samples=num_samples,
        cells=num_cells,
        largest_difference={name: float(f"{value:.2e}") for name, value in differences.items()},
        boxes=num_boxes,
    )


@torch.no_grad()
def detector_maps(
    detector: BEVDepth, sample: Sample
) -> tuple[dict[str, Tensor], NDArray[np.float32]]:
    """The heads' maps and the key frame's depth map by the detector itself."""
    images = normalised(torch.from_numpy(sample.images), detector.data_preprocessor)[None]
    bev, moments = detector.forward_bev(images, CameraRig.from_metainfo([sample.meta]))
    outputs = {name: head.outputs(bev) for name, head in detector.heads.items()}
    depth_map = detector.depth.bins.expectation(moments[0].lifted)[0]
    return named_maps(outputs, detector), depth_map.numpy()


def _compare_cells(
    detector: BEVDepth, model: ModelDescription, folder: Path, sample: Sample
) -> int:
    """The number of cells compared, all equal."""
    rig = CameraRig.from_metainfo([sample.meta])
    moments = range(model.num_frames)
    frustum = detector.view_transform.frustum
    expected = np.concatenate([frustum.cells(rig.moment(t)).numpy() for t in moments])
    to_grid = pixel_to_grid(sample.intrinsics, sample.ego_T_cam, sample.image_aug, model.grid)
    to_grid = np.where(sample.mask[..., None, None], to_grid, np.float32(np.nan))
    found: list[tuple[str, NDArray]] = [
        ("numpy", frustum_cells(to_grid, model.frustum, model.grid))
    ]
    if model.form != "gather":
        path = folder / ("model.onnx" if model.form == "one" else "pool.onnx")
        found.append((path.name, _cells_of_graph(path, to_grid, model)))
    for name, cells in found:
        different = int((cells.reshape(expected.shape) != expected).sum())
        if different:
            raise DataError(
                f"{different} of {expected.size} points of the frustum fall into another BEV cell "
                f"in {name} than in the pooling op; nothing was written"
            )
    return expected.size


def _cells_of_graph(
    path: Path, to_grid: NDArray[np.float32], model: ModelDescription
) -> NDArray[np.int64]:
    """The cells that a graph adds its points to, ``[S * N * D * h * w]``, -1 outside."""
    graph = onnx.load(path).graph
    names = [node.input[1] for node in adding_scatters(graph)]
    needed, nodes = set(names), []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.insert(0, node)
    outputs = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.INT64, None) for n in names]
    inputs = [value for value in graph.input if value.name in needed]
    weights = [value for value in graph.initializer if value.name in needed]
    cut = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "cells", inputs, outputs, weights),
        opset_imports=[onnx.helper.make_opsetid("", model.opset)],
        ir_version=10,
    )
    onnxruntime = require_package("onnxruntime", "export")
    session = onnxruntime.InferenceSession(
        cut.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    shapes = {value.name: value.shape for value in session.get_inputs()}
    matrix = to_grid if model.form == "one" else None
    found = []
    if matrix is not None:
        found = session.run(None, _feeds(shapes, matrix))
    else:
        for moment in to_grid:
            found += session.run(None, _feeds(shapes, moment))
    rows, columns = model.grid.bev_size
    cells = np.concatenate([array.reshape(-1) for array in found])
    return np.where(cells == rows * columns, -1, cells)


def adding_scatters(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes that add by scatter."""
    return [
        node
        for node in graph.node
        if node.op_type == "ScatterND" and any(a.s == b"add" for a in node.attribute)
    ]


def _feeds(shapes: dict[str, list], matrix: NDArray[np.float32]) -> dict[str, NDArray]:
    """``pixel_to_grid``, and zeros for inputs of which only the number of cameras counts."""
    count = matrix.shape[-3]
    feeds: dict[str, NDArray] = {}
    for name, shape in shapes.items():
        sizes = [size if isinstance(size, int) else count for size in shape]
        kind = np.uint8 if name == "images" else np.float32
        feeds[name] = matrix if name == "pixel_to_grid" else np.zeros(sizes, kind)
    return feeds


def _compare_boxes(
    detector: BEVDepth, expected: dict[str, Tensor], found: dict[str, NDArray], sample: Sample
) -> int:
    """The number of boxes that PyTorch predicts, each of which the graph predicts as well."""
    heads = [head for head in detector.heads.values() if isinstance(head, BEVCenterHead)]
    if not heads:
        return 0
    threshold = heads[0].bbox_coder.score_threshold or 0.0
    ours = _boxes(detector, expected, sample)
    theirs = _boxes(detector, {n: torch.from_numpy(a) for n, a in found.items()}, sample)
    lost = unmatched(ours, theirs, threshold) + unmatched(theirs, ours, threshold)
    if lost:
        raise DataError(
            f"{lost} of {len(ours[0])} boxes are other ones than PyTorch's; nothing was written"
        )
    return len(ours[0])


def unmatched(
    boxes: tuple[NDArray, NDArray, NDArray],  # [M, 7 or 9], scores [M], labels [M]
    others: tuple[NDArray, NDArray, NDArray],
    threshold: float,
) -> int:
    """How many boxes have no partner of the same label, score and numbers in ``others``.

    Boxes whose score lies within the tolerance of the threshold are not counted.
    """
    count = 0
    for box, score, label in zip(*boxes, strict=True):
        if score < threshold + SCORE_TOLERANCE:
            continue
        same = (others[2] == label) & (np.abs(others[1] - score) < SCORE_TOLERANCE)
        distance = np.abs(others[0][same] - box)
        distance[:, 6] = np.abs(np.arctan2(np.sin(distance[:, 6]), np.cos(distance[:, 6])))
        count += not (distance < BOX_TOLERANCE).all(axis=1).any()
    return count


def _boxes(
    detector: BEVDepth, maps: dict[str, Tensor], sample: Sample
) -> tuple[NDArray, NDArray, NDArray]:
    outputs = head_outputs(maps, detector)
    predicted = Det3DDataSample(metainfo=sample.meta)
    for name, head in detector.heads.items():
        if isinstance(head, BEVCenterHead):
            head.add_predictions(outputs[name], [predicted])
    instances: Any = predicted.pred_instances_3d
    return (
        instances.bboxes_3d.tensor.numpy(),
        instances.scores_3d.numpy(),
        instances.labels_3d.numpy(),
    )


def _relative(ours: NDArray, theirs: NDArray) -> float:
    if not ours.size:
        return 0.0
    return float(np.abs(ours - theirs).max() / max(np.abs(ours).max(), 1e-6))
