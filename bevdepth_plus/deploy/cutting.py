"""Cut an exported image part in three, so that no geometry is computed in low precision.

A runtime that is asked for bfloat16 rounds everything in a graph. That is harmless to a
convolution, and wrong for a focal length, a horizon, or the sum over 200 depth bins. So the image
part is cut by what depends on what:

    cameras.onnx   what follows from the calibration alone; once for each calibration
    image.onnx     from the images to the last convolutions: the only one for low precision
    depth.onnx     what comes after them: softmax, canonical bins, priors, the depth map

The cut is made on the graph, not in the model: any backbone and any prior is cut in the same way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import onnx
from onnx import helper

IMAGES = "images"
CALIBRATION = ("intrinsics", "ego_T_cam", "image_aug")
# Operators of a network's layers: what comes after the last of them is post-processing.
LAYERS = {
    *("Conv", "ConvTranspose", "DeformConv", "GridSample", "Gemm", "MatMul", "Resize"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "BatchNormalization"),
    *("LayerNormalization", "InstanceNormalization", "GroupNormalization"),
}


def cut_image_part(model: onnx.ModelProto) -> dict[str, onnx.ModelProto]:
    """The three models by name: ``cameras``, ``image`` and ``depth``.

    Values keep their names, so a runtime joins them by name. ``cameras`` is missing where the
    network uses no calibration.
    """
    model = onnx.shape_inference.infer_shapes(model)
    nodes = list(model.graph.node)
    sizes = _size_values(model)
    from_images = _reached_from(nodes, {IMAGES}, sizes)
    after_layers = _after_layers(nodes, {value.name for value in model.graph.output})
    groups: dict[str, list[onnx.NodeProto]] = {"cameras": [], "image": [], "depth": []}
    size_nodes = []
    for node in nodes:
        if set(node.output) <= sizes:
            size_nodes.append(node)
        elif not set(node.output) & from_images:
            groups["cameras"].append(node)
        elif set(node.output) & after_layers:
            groups["depth"].append(node)
        else:
            groups["image"].append(node)
    parts = {}
    for name, group in groups.items():
        if group:
            others = [node for other, found in groups.items() if other != name for node in found]
            parts[name] = _model_of(model, name, group, others, size_nodes)
    return parts


def _size_values(model: onnx.ModelProto) -> set[str]:
    """Values that follow from the number of cameras and constants alone."""
    inputs = {value.name for value in model.graph.input}
    constants = {value.name for value in model.graph.initializer} | {""}
    sizes: set[str] = set()
    for node in model.graph.node:
        if (
            node.op_type == "Constant"
            or (node.op_type == "Shape" and node.input[0] in inputs and _first_axis(node))
            or all(name in sizes or name in constants for name in node.input)
        ):
            sizes.update(node.output)
    return sizes


def _first_axis(node: onnx.NodeProto) -> bool:
    """Whether a Shape node asks for the number of cameras, the first axis of every input."""
    asked = {attribute.name: attribute.i for attribute in node.attribute}
    return asked.get("start", 0) == 0 and asked.get("end") == 1


def _reached_from(
    nodes: Iterable[onnx.NodeProto], start: Collection[str], without: Collection[str]
) -> set[str]:
    """Values that depend on ``start``, not counting the paths through ``without``."""
    reached = set(start)
    for node in nodes:
        if reached.intersection(node.input) and not set(node.output) <= set(without):
            reached.update(node.output)
    return reached


def _after_layers(nodes: Sequence[onnx.NodeProto], outputs: Collection[str]) -> set[str]:
    """Values that are not layers and reach the outputs through no layer."""
    before: set[str] = set()  # values that some layer, or something before one, consumes
    after: set[str] = set()
    for node in reversed(nodes):
        feeds_layer = before.intersection(node.output)
        if node.op_type in LAYERS or feeds_layer:
            before.update(node.input)
        else:
            after.update(node.output)
    return after


def _model_of(
    model: onnx.ModelProto,
    name: str,
    group: Sequence[onnx.NodeProto],
    others: Sequence[onnx.NodeProto],
    size_nodes: Sequence[onnx.NodeProto],
) -> onnx.ModelProto:
    """One part as a model of its own."""
    graph_inputs = {value.name: value for value in model.graph.input}
    initializers = {value.name: value for value in model.graph.initializer}
    own_sizes = _needed_sizes(group, size_nodes)
    counted = IMAGES if name == "image" else CALIBRATION[0]  # which input counts the cameras
    nodes = [_counting(node, graph_inputs, counted) for node in own_sizes] + list(group)
    produced = {value for node in nodes for value in node.output}
    needed = {value for node in nodes for value in node.input if value}
    wanted = {value for node in others for value in node.input}
    wanted |= {value.name for value in model.graph.output}
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    known |= graph_inputs
    inputs = [known[value] for value in _in_order(needed - produced - set(initializers), known)]
    made = {value for node in group for value in node.output}
    outputs = [known[value] for value in _in_order(made & wanted, known)]
    weights = [initializers[value] for value in initializers if value in needed]
    graph = helper.make_graph(nodes, name, inputs, outputs, weights)
    part = helper.make_model(graph, opset_imports=list(model.opset_import))
    part.ir_version = model.ir_version
    part.producer_name = model.producer_name
    return part


def _needed_sizes(
    group: Sequence[onnx.NodeProto], size_nodes: Sequence[onnx.NodeProto]
) -> list[onnx.NodeProto]:
    """The size nodes that a group needs, in their order."""
    needed = {value for node in group for value in node.input}
    found: list[onnx.NodeProto] = []
    for node in reversed(size_nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            found.insert(0, node)
    return found


def _counting(node: onnx.NodeProto, graph_inputs: Any, counted: str) -> onnx.NodeProto:
    """A size node that counts the cameras of another input."""
    if node.op_type != "Shape" or node.input[0] not in graph_inputs:
        return node
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[0] = counted
    return copy


def _in_order(names: Collection[str], known: Any) -> list[str]:
    return [name for name in known if name in names]
