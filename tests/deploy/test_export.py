"""The export tool from a checkpoint to files, and the backend on these files.

One export of each kind of recipe, with tiny networks. The full-size export is documented in
docs/export.md; it takes minutes.
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the exporter needs onnx: pip install -e '.[export]'")
pytest.importorskip("onnxscript", reason="the exporter needs onnxscript")
pytest.importorskip("onnxruntime", reason="exported files run in onnxruntime")

import onnx
import onnxruntime
from mmengine.config import Config
from torch import nn

from bevdepth_plus.deploy.backends.onnx import OnnxBackend
from bevdepth_plus.deploy.backends.openvino import OpenVinoBackend
from bevdepth_plus.deploy.cutting import CALIBRATION, LAYERS
from bevdepth_plus.deploy.description import read_description
from bevdepth_plus.deploy.samples import random_samples
from bevdepth_plus.deploy.verify import TOLERANCE, adding_scatters, detector_maps, unmatched, verify
from bevdepth_plus.errors import DataError
from tools.export_onnx import export, require_replaceable

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
pytestmark = pytest.mark.slow

# Recipe and form: together they have every module that a recipe may have.
EXPORTS = {
    # deformable convolution, canonical bins, ground cue, fused prior, two frames
    "parts": ("bevdepth_plus_r50_256x704_24e_2key", "parts", "GridSample"),
    # depth refinement, DeformConv, two frames
    "refined": ("bevdepth_r50_256x704_20e_cbgs_2key_da_ema", "one", "DeformConv"),
    # encoded maps of two frames, a motion head
    "motion": ("synthetic_small_plus_motion", "one", "DeformConv"),
    # no velocities, own classes, no deformable convolution; and a map head
    "gather": ("kitti_one_camera", "gather", "DeformConv"),
}
MAP_HEAD = dict(type="BEVSegmentationHead", layers=["road", "lane"], mid_channels=4)


@pytest.fixture(scope="module")
def exported(load_tiny, tmp_path_factory):
    """``exported(kind)``: the detector, and the folder that the tool wrote."""
    made = {}

    def get(kind: str):
        if kind not in made:
            name, form, deformable = EXPORTS[kind]
            heads = {"map": MAP_HEAD} if kind == "gather" else {}
            detector = load_tiny(name, more_heads=heads)
            out = tmp_path_factory.mktemp(kind) / "model"
            args = argparse.Namespace(
                config=f"{name}.py", out=out, form=form, deformable=deformable, verify=0
            )
            export(detector, Config.fromfile(CONFIGS / f"{name}.py"), args, lambda line: None)
            made[kind] = detector, out
        return made[kind]

    return get


@pytest.mark.parametrize("kind", EXPORTS)
def test_a_recipe_exports_and_agrees_with_pytorch(kind, exported):
    detector, folder = exported(kind)
    model = read_description(folder)
    assert model.verified.samples == 3
    assert model.verified.cells > 0
    assert max(model.verified.largest_difference.values()) <= TOLERANCE
    # A rig that neither the trace nor the verification has seen.
    (sample,) = random_samples(detector, [5])
    expected, depth_map = detector_maps(detector, sample)
    maps, found_depth = OnnxBackend(folder, threads=1).maps(
        sample.images, sample.intrinsics, sample.ego_T_cam, sample.image_aug
    )
    assert list(maps) == list(model.outputs) == list(expected)
    for name, values in expected.items():
        scale = values.abs().max().item()
        np.testing.assert_allclose(maps[name], values.numpy(), atol=TOLERANCE * scale, rtol=0)
    np.testing.assert_allclose(found_depth, depth_map, rtol=TOLERANCE)


@pytest.mark.parametrize("kind", EXPORTS)
def test_graphs_have_standard_operators_and_no_path_of_this_machine(kind, exported):
    _, folder = exported(kind)
    for path in folder.glob("*.onnx"):
        model = onnx.load(path)
        onnx.checker.check_model(model)
        assert {node.domain for node in model.graph.node} == {""}
        assert not model.functions
        assert b"site-packages" not in path.read_bytes()
    operators = {
        node.op_type for path in folder.glob("*.onnx") for node in onnx.load(path).graph.node
    }
    assert ("DeformConv" in operators) == (kind == "refined")
    if kind == "gather":
        pool = onnx.load(folder / "pool.onnx").graph.node
        assert not any(node.op_type.startswith("Scatter") for node in pool)


def test_no_geometry_is_in_the_graph_that_may_run_in_low_precision(exported):
    _, folder = exported("parts")
    graph = onnx.load(folder / "image.onnx").graph
    inputs = {value.name for value in graph.input}
    assert "images" in inputs
    assert not inputs & set(CALIBRATION)
    ends = {value.name for value in graph.output}
    last = [node for node in graph.node if ends & set(node.output)]
    assert {node.op_type for node in last} <= LAYERS
    after = {node.op_type for node in onnx.load(folder / "depth.onnx").graph.node}
    assert {"Softmax", "CumSum"} <= after
    assert not after & (LAYERS - {"MatMul"})


def test_a_camera_that_gave_no_image_changes_nothing_by_its_pixels(exported):
    detector, folder = exported("parts")
    backend = OnnxBackend(folder, threads=1)
    (sample,) = random_samples(detector, [3])
    matrices = (sample.intrinsics, sample.ego_T_cam, sample.image_aug)
    mask = np.array([[True, False, True]] * 2)
    masked, _ = backend.maps(sample.images, *matrices, mask)
    working = [0, 2]
    without, _ = backend.maps(
        sample.images[:, working], *(matrix[:, working] for matrix in matrices)
    )
    for name, values in without.items():
        np.testing.assert_allclose(masked[name], values, atol=1e-5)


@pytest.mark.parametrize("kind", EXPORTS)
def test_graphs_whose_sums_threads_would_lose_run_on_one(kind, exported, monkeypatch):
    # onnxruntime's ScatterND adds without a lock (onnxruntime issue 18048); up to 19 % of a cell
    # was missing in some runs of six cameras on two cores.
    threads = {}
    session = onnxruntime.InferenceSession

    def record(path, options, **others):
        threads[Path(path).name] = options.intra_op_num_threads
        return session(path, options, **others)

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    _, folder = exported(kind)
    OnnxBackend(folder, threads=3)
    assert threads == {name: 1 if scatters(folder / name) else 3 for name in threads}
    assert (1 in threads.values()) == (kind != "gather")


def scatters(path: Path) -> bool:
    return bool(adding_scatters(onnx.load(path).graph))


@pytest.mark.parametrize("kind", EXPORTS)
def test_a_graph_that_scatters_says_how_many_threads_may_run_it(kind, exported):
    _, folder = exported(kind)
    for path in folder.glob("*.onnx"):
        notes = {note.key: note.value for note in onnx.load(path).metadata_props}
        assert ("intra_op_num_threads = 1" in notes.get("onnxruntime", "")) == scatters(path)


def test_the_calibration_of_each_call_counts(exported):
    detector, folder = exported("parts")
    backend = OnnxBackend(folder, threads=1)
    (sample,) = random_samples(detector, [2])
    K, pose, aug = sample.intrinsics[0], sample.ego_T_cam[0], sample.image_aug[0]
    first = backend.image_part(sample.images[0], K, pose, aug)
    longer = K * np.array([1.5, 1.5, 1.0], np.float32)[:, None]
    changed = backend.image_part(sample.images[0], longer, pose, aug)
    again = backend.image_part(sample.images[0], K, pose, aug)
    assert np.abs(changed[2] - first[2]).max() > 0.1  # metres
    for ours, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_openvino_runs_the_parts(exported):
    pytest.importorskip("openvino", reason="optional: pip install -e '.[openvino]'")
    detector, folder = exported("parts")
    (sample,) = random_samples(detector, [4])
    expected, _ = detector_maps(detector, sample)
    maps, _ = OpenVinoBackend(folder, threads=1).maps(
        sample.images, sample.intrinsics, sample.ego_T_cam, sample.image_aug
    )
    for name, values in expected.items():
        scale = values.abs().max().item()
        np.testing.assert_allclose(maps[name], values.numpy(), atol=TOLERANCE * scale, rtol=0)


def test_openvino_says_what_it_cannot_run(exported):
    pytest.importorskip("openvino", reason="optional: pip install -e '.[openvino]'")
    with pytest.raises(DataError, match="was exported as 'one'.*--form parts"):
        OpenVinoBackend(exported("refined")[1])
    with pytest.raises(DataError, match="precision must be one of f32, bf16, got 'int4'"):
        OpenVinoBackend(exported("parts")[1], precision="int4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(images=v["images"][..., :32]), r"exported for images of 64 x 96 pix"),
        (lambda v: v.update(images=v["images"].astype(np.float32)), "must be uint8 RGB, got floa"),
        (
            lambda v: v.update({k: np.repeat(a, 20, axis=0) for k, a in v.items()}),
            "takes 1 to 32 cameras, got 40",
        ),
        (
            lambda v: v.update(intrinsics=v["intrinsics"][:1]),
            r"intrinsics must be \[2, 3, 3\] for 2 images, got \[1, 3, 3\]",
        ),
        (
            lambda v: v.update(ego_T_cam=v["ego_T_cam"][:, :3]),
            r"ego_T_cam must be \[2, 4, 4\] for 2 images",
        ),
    ],
)
def test_inputs_of_another_rig_are_refused_by_name(change, message, exported):
    detector, folder = exported("parts")
    (sample,) = random_samples(detector, [2])
    values = dict(
        images=sample.images[0],
        intrinsics=sample.intrinsics[0],
        ego_T_cam=sample.ego_T_cam[0],
        image_aug=sample.image_aug[0],
    )
    change(values)
    with pytest.raises(DataError, match=message):
        OnnxBackend(folder, threads=1).image_part(**values)


def test_damaged_folders_are_refused_with_the_file(exported, tmp_path):
    _, source = exported("parts")
    folder = tmp_path / "model"
    shutil.copytree(source, folder)
    image = folder / "image.onnx"
    whole = image.read_bytes()
    image.write_bytes(whole[:-100])
    with pytest.raises(DataError, match=r"image.onnx has \d+ bytes of \d+; copy the whole"):
        OnnxBackend(folder)
    image.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match="image.onnx is not the file that model.json describes"):
        OnnxBackend(folder)
    image.unlink()
    with pytest.raises(DataError, match="image.onnx is missing"):
        OnnxBackend(folder)
    (folder / "model.json").write_text("{")
    with pytest.raises(DataError, match="model.json cannot be read as JSON"):
        OnnxBackend(folder)
    shutil.rmtree(folder)
    with pytest.raises(DataError, match="does not exist; give the folder"):
        OnnxBackend(folder)


def test_missing_weights_beside_a_graph_are_named(exported, tmp_path):
    _, source = exported("parts")
    folder = tmp_path / "model"
    shutil.copytree(source, folder)
    onnx.save(
        onnx.load(folder / "bev.onnx"),
        folder / "bev.onnx",
        save_as_external_data=True,
        location="bev.onnx.data",
        size_threshold=0,
    )
    content = json.loads((folder / "model.json").read_text())
    content["files"] = [
        {"name": p.name, "bytes": p.stat().st_size, "sha256": sha256(p)}
        for p in sorted(folder.iterdir())
        if p.name != "model.json"
    ]
    (folder / "model.json").write_text(json.dumps(content))
    assert OnnxBackend(folder, threads=1).description.file("bev.onnx.data")
    (folder / "bev.onnx.data").unlink()
    with pytest.raises(DataError, match="bev.onnx.data is missing"):
        OnnxBackend(folder)


def sha256(path: Path) -> str:
    from bevdepth_plus.deploy.description import describe_file

    return describe_file(path).sha256


def test_an_export_that_does_not_agree_is_not_written(exported, tmp_path):
    """Other weights stand for any mistake in a translation."""
    detector, folder = exported("gather")
    head = detector.heads["boxes"].task_heads[0].reg[-1]
    bias = head.bias.clone()
    nn.init.constant_(head.bias, 1.0)
    try:
        with pytest.raises(DataError, match=r"task0.reg differs from PyTorch by .* nothing was"):
            verify(detector, folder, random_samples(detector, [2]), "random")
    finally:
        head.bias.copy_(bias)


def test_a_moved_plane_is_found_as_cells_that_differ(exported, tmp_path):
    detector, source = exported("refined")
    frustum = detector.view_transform.frustum
    before = frustum.depths.clone()
    frustum.depths += 0.5
    try:
        with pytest.raises(DataError, match=r"points of the frustum fall into another BEV cell"):
            verify(detector, source, random_samples(detector, [2]), "random")
    finally:
        frustum.depths.copy_(before)


def test_the_tool_leaves_other_peoples_folders_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(DataError, match="exists and holds no exported model"):
        require_replaceable(tmp_path)
    require_replaceable(tmp_path / "new")


def test_a_lost_and_a_moved_box_are_counted():
    boxes = np.array([[1.0, 2, 0, 4, 2, 1.5, 3.14], [9, 2, 0, 4, 2, 1.5, 0]])
    scores, labels = np.array([0.9, 0.5]), np.array([0, 1])
    turned = boxes.copy()
    turned[0, 6] = -3.14  # the same direction
    assert unmatched((boxes, scores, labels), (turned, scores, labels), 0.1) == 0
    assert unmatched((boxes, scores, labels), (turned[:1], scores[:1], labels[:1]), 0.1) == 1
    turned[1, 0] += 0.5
    assert unmatched((boxes, scores, labels), (turned, scores, labels), 0.1) == 1
    assert unmatched((boxes, scores, labels), (boxes, scores, labels[::-1]), 0.1) == 2


def test_a_description_survives_json(exported):
    _, folder = exported("gather")
    model = read_description(folder)
    again = type(model).from_json(json.loads(json.dumps(model.to_json())))
    assert again == model
    assert model.map_layers == ("road", "lane")
    assert "map" in model.outputs
    with pytest.raises(DataError, match="has format 99, this version reads"):
        type(model).from_json({**model.to_json(), "format": 99})
    content = model.to_json()
    del content["grid"]
    with pytest.raises(DataError, match="has no field grid"):
        type(model).from_json(content)
    with pytest.raises(DataError, match="stride must be int, got '16'"):
        type(model).from_json({**model.to_json(), "stride": "16"})
    assert replace(model, verified=None).to_json()["verified"] is None
