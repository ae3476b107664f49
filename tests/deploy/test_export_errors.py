"""What a user can get wrong about an export, in one line each; nothing here traces a detector."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

pytest.importorskip("onnx", reason="the exporter needs onnx: pip install -e '.[export]'")
pytest.importorskip("onnxscript", reason="the exporter needs onnxscript")

import onnx
from onnx import TensorProto, helper

from bevdepth_plus.deploy.backends.onnx import OnnxBackend
from bevdepth_plus.deploy.backends.openvino import OpenVinoBackend
from bevdepth_plus.deploy.cutting import cut_image_part
from bevdepth_plus.deploy.export import trace
from bevdepth_plus.errors import DataError
from tools import export_onnx


@pytest.mark.parametrize(
    ("package", "backend", "extra"),
    [("onnxruntime", OnnxBackend, "onnx"), ("openvino", OpenVinoBackend, "openvino")],
)
def test_a_missing_runtime_is_named_with_its_extra(package, backend, extra, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(DataError, match=rf"{package} is not installed: pip install .*\[{extra}\]"):
        backend(tmp_path)


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_the_tool_asks_for_its_packages_before_it_reads_anything(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    arguments = ["export_onnx.py", "no_config.py", "no.pth", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(DataError, match=rf"{package} is not installed.*\[export\]"):
        export_onnx.main()


class Unknown(nn.Module):
    def forward(self, x):
        return torch.linalg.qr(x)[0]


def test_an_operator_without_translation_is_named():
    with pytest.raises(DataError, match=r"uses aten.linalg_qr, which has no translation"):
        trace(Unknown(), dict(x=torch.rand(3, 3)), {}, ["q"])


class Branching(nn.Module):
    def forward(self, x):
        return x + 1 if x.sum() > 0 else x


def test_a_module_that_cannot_be_traced_ends_in_one_line():
    with pytest.raises(DataError, match="the model cannot be traced: ") as raised:
        trace(Branching(), dict(x=torch.rand(3)), {}, ["y"])
    assert "\n" not in str(raised.value)


class Inverse(nn.Module):
    def forward(self, matrix):
        return torch.linalg.inv_ex(matrix).inverse


def test_the_inverse_in_the_graph_is_torchs():
    onnxruntime = pytest.importorskip("onnxruntime")
    matrix = torch.tensor([[560.0, 3, 352], [0, 540, 128], [0, 0, 1]]).repeat(1, 2, 1, 1)
    matrix[0, 1] = torch.tensor([[-0.3, 0.2, 5], [0.1, 0.4, -8], [0, 0, 1]])
    model = trace(Inverse(), dict(matrix=matrix), {}, ["inverse"])
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, dict(matrix=matrix.numpy()))
    expected = torch.linalg.inv(matrix.double()).float()
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-6, atol=1e-7)


def test_the_cut_separates_calibration_network_and_what_follows():
    """image * focal -> convolution -> softmax / focal, with the sizes computed from the images."""
    nodes = [
        helper.make_node("Shape", ["images"], ["count"], start=0, end=1),
        helper.make_node("Concat", ["count", "rest"], ["shape"], axis=0),
        helper.make_node("Slice", ["intrinsics", "zero", "one", "axis"], ["row"]),
        helper.make_node("ReduceSum", ["row", "axes"], ["focal"], keepdims=1),
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["floats", "shape"], ["reshaped"]),
        helper.make_node("Conv", ["reshaped", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["shares"], axis=1),
        helper.make_node("Reshape", ["focal", "shape_of_focal"], ["scale"]),
        helper.make_node("Mul", ["shares", "scale"], ["depth"]),
    ]
    integers = dict(rest=[3, 4, 4], zero=[0], one=[1], axis=[1], axes=[1, 2])
    integers["shape_of_focal"] = [-1, 1, 1, 1]
    weights = [
        helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        for name, values in integers.items()
    ]
    weights.append(helper.make_tensor("weight", TensorProto.FLOAT, [2, 3, 1, 1], [0.1] * 6))
    inputs = [
        helper.make_tensor_value_info("intrinsics", TensorProto.FLOAT, ["cameras", 3, 3]),
        helper.make_tensor_value_info("images", TensorProto.UINT8, ["cameras", 3, 4, 4]),
    ]
    outputs = [helper.make_tensor_value_info("depth", TensorProto.FLOAT, ["cameras", 2, 4, 4])]
    graph = helper.make_graph(nodes, "whole", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    parts = cut_image_part(model)
    for part in parts.values():
        onnx.checker.check_model(part, full_check=True)
    ends = {
        name: (
            [value.name for value in part.graph.input],
            [value.name for value in part.graph.output],
        )
        for name, part in parts.items()
    }
    assert ends == {
        "cameras": (["intrinsics"], ["scale"]),
        "image": (["images"], ["logits"]),
        "depth": (["logits", "scale"], ["depth"]),
    }
