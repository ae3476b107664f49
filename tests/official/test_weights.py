from __future__ import annotations

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.utils import register_all_modules

import bevdepth_plus.models  # noqa: F401
from bevdepth_plus.errors import DataError
from bevdepth_plus.official.config import convert_confs
from bevdepth_plus.official.models import OFFICIAL_MODELS, official_confs
from bevdepth_plus.official.weights import convert_state_dict, load_official, read_official

# Our name's beginning -> the public code's, the longest first.
DEPTH_NET_NAMES = {
    "depth_blocks.3.branches.0.0.": "depth_conv.3.aspp1.atrous_conv.",
    "depth_blocks.3.branches.0.1.": "depth_conv.3.aspp1.bn.",
    "depth_blocks.3.branches.1.0.": "depth_conv.3.aspp2.atrous_conv.",
    "depth_blocks.3.branches.1.1.": "depth_conv.3.aspp2.bn.",
    "depth_blocks.3.branches.2.0.": "depth_conv.3.aspp3.atrous_conv.",
    "depth_blocks.3.branches.2.1.": "depth_conv.3.aspp3.bn.",
    "depth_blocks.3.branches.3.0.": "depth_conv.3.aspp4.atrous_conv.",
    "depth_blocks.3.branches.3.1.": "depth_conv.3.aspp4.bn.",
    "depth_blocks.3.pool.": "depth_conv.3.global_avg_pool.",
    "depth_blocks.3.merge.0.": "depth_conv.3.conv1.",
    "depth_blocks.3.merge.1.": "depth_conv.3.bn1.",
    "depth_blocks.4.conv.": "depth_conv.4.",
    "depth_blocks.": "depth_conv.",
    "depth_out.": "depth_conv.5.",
    "reduce.": "reduce_conv.",
    "camera_norm.": "bn.",
    "context_mlp.": "context_mlp.",
    "depth_mlp.": "depth_mlp.",
    "context_gate.": "context_se.",
    "depth_gate.": "depth_se.",
    "context_out.": "context_conv.",
}
OFFICIAL_NAMES = {
    **{
        f"depth.depth_net.{ours}": f"backbone.depth_net.{theirs}"
        for ours, theirs in DEPTH_NET_NAMES.items()
    },
    "view_transform.refinement.reduce.": "backbone.depth_aggregation_net.reduce_conv.",
    "view_transform.refinement.residual.": "backbone.depth_aggregation_net.conv.",
    "view_transform.refinement.out.": "backbone.depth_aggregation_net.out_conv.0.",
    "image_encoder.": "backbone.img_",
    "temporal.encoder.backbone.": "head.trunk.",
    "temporal.encoder.neck.": "head.neck.",
    "heads.boxes.": "head.",
}
SMALL = dict(
    final_dim=(64, 96),
    output_channels=8,
    cell=3.2,
    d_bound=(2.0, 34.0, 2.0),
    img_backbone=dict(depth=18, base_channels=8),
    img_neck_in=(8, 16, 32, 64),
    img_neck_out=8,
    mid_channels=16,
    bev_base=16,
    bev_neck_out=8,
)


def build(**options):
    register_all_modules()
    torch.manual_seed(0)
    return MODELS.build(convert_confs(*official_confs(**SMALL, **options)))


def official_weights(model) -> dict:
    """The model's weights under the public code's names."""
    found = {}
    for name, tensor in model.state_dict().items():
        ours = next(start for start in OFFICIAL_NAMES if name.startswith(start))
        found[OFFICIAL_NAMES[ours] + name.removeprefix(ours)] = tensor.clone()
    return found


@pytest.mark.parametrize("prefix", ["", "model."])
def test_two_frames_with_refinement_come_back_whole_under_the_public_codes_names(prefix):
    model = build(frames=2, use_da=True)
    other = build(frames=2, use_da=True)
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    weights = {prefix + name: tensor for name, tensor in official_weights(model).items()}
    load_official(other, weights)
    for name, tensor in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name


def test_two_frames_go_through_depth_net_with_the_key_cameras_and_lie_side_by_side():
    model = build(frames=2)
    assert model.depth.key_cameras_for_past
    assert model.temporal.encoder.backbone.conv1.in_channels == 2 * SMALL["output_channels"]
    assert build(frames=1).temporal.fusion is None


@pytest.mark.parametrize("change", ["missing", "left over", "shape", "depth planes"])
def test_weights_that_do_not_fit_are_refused_by_name(change):
    model = build()
    weights = official_weights(model)
    if change == "missing":
        name = "head.shared_conv.conv.weight"
        del weights[name]
        expected = "1 parameters stay unfilled .*heads.boxes.shared_conv.conv.weight"
    elif change == "left over":
        weights["head.task_heads.6.reg.0.conv.weight"] = torch.zeros(1)
        expected = "1 weights have no place .*task_heads.6"
    elif change == "shape":
        weights["backbone.depth_net.bn.weight"] = torch.zeros(5)
        expected = r"camera_norm.weight is \(5,\) in the weights and \(27,\)"
    else:
        rows, columns, depths = torch.linspace(0, 63, 4), torch.linspace(0, 95, 6), torch.arange(16)
        d, v, u = torch.meshgrid(3.0 + 2 * depths, rows, columns, indexing="ij")  # from 3 m, not 2
        weights["backbone.frustum"] = torch.stack([u, v, d, torch.ones_like(d)], dim=-1)
        expected = "backbone.frustum of the weights is not the model's"
    with pytest.raises(ValueError, match=expected):
        load_official(model, weights)


def test_a_weight_of_another_model_is_named():
    with pytest.raises(ValueError, match=r"'backbone\.conv1\.weight' is not known"):
        convert_state_dict({"backbone.conv1.weight": torch.zeros(1)})


def test_a_cell_that_targets_do_not_share_is_refused():
    backbone_conf, head_conf = official_confs(**SMALL)
    head_conf["train_cfg"]["out_size_factor"] = 4
    with pytest.raises(ValueError, match=r"cells of 3\.2 m, head_conf's train_cfg .* with 0\.8 m"):
        convert_confs(backbone_conf, head_conf)


def test_every_released_experiment_has_its_config():
    frames = {
        name: convert_confs(*confs())["temporal"]["num_frames"]
        for name, confs in OFFICIAL_MODELS.items()
    }
    assert all(count == (2 if "_2key" in name else 1) for name, count in frames.items())


def test_a_file_with_more_than_weights_is_refused(tmp_path):
    path = tmp_path / "more.pth"
    torch.save(dict(state_dict={}, hook=torch.nn.Identity()), path)
    with pytest.raises(DataError, match="holds more than weights, .* could run code") as error:
        read_official(path)
    assert "weights_only" not in str(error.value)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "cut.pth"
    torch.save(dict(weight=torch.zeros(1000)), path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(DataError, match=r"cut\.pth is truncated"):
        read_official(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"<!DOCTYPE html><html>Sign in</html>", "is a web page, not a checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"not a checkpoint at all", "is truncated or not a checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_named_and_no_unsafe_load_is_advised(tmp_path, content, complaint):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint) as error:
        read_official(path)
    assert "weights_only" not in str(error.value)
