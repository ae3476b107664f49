"""Depth from motion as a model of mmengine's runner."""

from __future__ import annotations

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.utils import register_all_modules
from mmengine.optim import OptimWrapper

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.geometry.rigid import invert_rigid
from bevdepth_plus.triangulation.epipolar_matching import EpipolarMatcher
from bevdepth_plus.triangulation.network import build_network
from bevdepth_plus.triangulation.points import Views

SIZE = (32, 64)
NETWORK = dict(
    depth_range=(1.0, 60.0),
    encoder=dict(depth=18, base_channels=8),
    interest_points=dict(channels=8, hidden_channels=8),
    matcher=dict(samples=16, min_length=0.5),
    densifier=dict(
        sparse_encoder=dict(depth=18, base_channels=4), channels=(16, 12, 8, 8, 4), aspp_channels=4
    ),
    num_points=48,
    border=2,
)


@pytest.fixture
def model():
    register_all_modules()
    torch.manual_seed(0)
    criterion = dict(type="TriangulationCriterion", depth=dict(log=True))
    return MODELS.build(dict(type="DepthFromMotion", network=NETWORK, criterion=criterion))


def batch(count: int = 2, baseline: float = 1.0) -> dict:
    """As the loader gives it: a plane 5 m away with a texture that shifts as it must."""
    matrix = torch.tensor([[40.0, 0, 32], [0, 40, 16], [0, 0, 1]])
    draw = torch.Generator().manual_seed(0)
    shift = round(40 * baseline / 5)
    wide = torch.rand(count, 1, 3, SIZE[0] // 4, 64, generator=draw)
    wide = wide.repeat_interleave(4, -2).repeat_interleave(4, -1) * 255
    views = [wide[..., 64 - step * shift :][..., : SIZE[1]] for step in (0, -1, 1)]
    poses = torch.eye(4).repeat(count, 2, 1, 1)
    poses[:, 0, 0, 3], poses[:, 1, 0, 3] = baseline, -baseline
    return dict(
        images=torch.cat(views, dim=1).to(torch.uint8),
        intrinsics=matrix.expand(count, 3, 3, 3).clone(),
        anchor_T_source=poses,
        depth=torch.full((count, *SIZE), 5.0),
        token=[f"sequence/{index}" for index in range(count)],
        source_tokens=[["a"] * count, ["b"] * count],
        sample_idx=torch.arange(count),
    )


def transform(turn: float, translation: tuple[float, float, float]) -> torch.Tensor:
    """A pose turned about the vertical, ``[4, 4]``."""
    pose = torch.eye(4)
    angle = torch.tensor(turn)
    pose[0, 0], pose[0, 2], pose[2, 0], pose[2, 2] = (
        angle.cos(), angle.sin(), -angle.sin(), angle.cos(),
    )  # fmt: skip
    pose[:3, 3] = torch.tensor(translation)
    return pose


def test_a_step_of_training_teaches_every_part(model):
    optimizer = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-3))
    losses = model.train().train_step(batch(), optimizer)
    names = {"interest_points", "match", "point", "smoothness", "depth"}
    assert {f"loss_{name}" for name in names} <= set(losses)
    assert all(loss.isfinite() for loss in losses.values())


def test_a_few_steps_on_one_batch_find_its_depth(model):
    optimizer = OptimWrapper(torch.optim.Adam(model.parameters(), lr=1e-2))
    data = batch()
    first, *_, last = [model.train_step(data, optimizer)["loss_depth"].item() for _ in range(15)]
    assert last < first / 3


def test_a_prediction_names_its_sample_and_the_way_to_the_farthest_source(model):
    data = batch(baseline=0.5)
    data["anchor_T_source"][1, 1, 0, 3] = -2.0
    with torch.no_grad():
        predictions = model.eval().test_step(data)
    assert [prediction["token"] for prediction in predictions] == ["sequence/0", "sequence/1"]
    assert [prediction["baseline"].item() for prediction in predictions] == [0.5, 2.0]
    for prediction in predictions:
        assert (prediction["pred_depths"]["dense"] > 0).all()
        assert torch.equal(prediction["gt_depth"], torch.full(SIZE, 5.0))
        points = prediction["pred_depths"]["points"]
        assert (points > 0).sum() <= NETWORK["num_points"]


def test_a_teacher_s_map_of_a_sample_teaches_the_detector(model):
    data = model.data_preprocessor(batch())
    torch.manual_seed(1)
    alone = model(**data, mode="loss")["loss_interest_points"]
    torch.manual_seed(1)
    taught = model(**data, interest_points=torch.zeros(2, *SIZE), mode="loss")
    assert taught["loss_interest_points"] != alone


def test_segments_keep_their_precision_under_autocast(model):
    """bfloat16 has 8 bits: a matrix product of poses in it moves a match by pixels."""
    data = model.data_preprocessor(batch())
    data["anchor_T_source"] = transform(0.2, (0.313, 0.057, 1.719)).expand(2, 2, 4, 4)
    lengths = []
    matcher = model.eval().network.matcher
    matcher.match = lambda cosines, places, segments: (
        lengths.append(segments.length) or EpipolarMatcher.match(matcher, cosines, places, segments)
    )
    with torch.no_grad():
        keypoints = model(**data).points.keypoints
        with torch.autocast("cpu", torch.bfloat16):
            views = Views(data["images"], data["intrinsics"], invert_rigid(data["anchor_T_source"]))
            model.network(views, keypoints)
    exact, rounded = lengths
    assert (exact > 1).any()
    torch.testing.assert_close(rounded, exact)


def test_images_are_rgb_of_mean_0_for_the_network(model):
    data = batch(1)
    data["images"] = torch.zeros(1, 3, 3, *SIZE, dtype=torch.uint8)
    data["images"][:, :, 2] = 255  # red, in BGR
    seen = model.data_preprocessor(data)["images"][0, 0, :, 0, 0]
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    torch.testing.assert_close(seen, (torch.tensor([255.0, 0, 0]) - mean) / std)


def test_an_unknown_mode_and_a_wrong_size_are_refused(model):
    with pytest.raises(ValueError, match="mode must be one of"):
        model(**batch(), mode="train")
    data = model.data_preprocessor(batch())
    data["images"] = data["images"][..., :40]
    with pytest.raises(ValueError, match="multiple of 32 pixels high and wide, got 32 x 40"):
        model(**data)


def test_a_network_of_a_config_has_the_sizes_that_it_says():
    network = build_network(**NETWORK)
    assert network.num_points == 48 and network.depth_range == (1.0, 60.0)
    assert network.densifier.encoder.resnet.conv1.in_channels == 2
    assert network.interest_points.descriptor.out.out_channels == 8
