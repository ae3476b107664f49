"""The two-view network as a model of mmengine's runner."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.utils import register_all_modules
from mmengine.optim import OptimWrapper

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.pointmaps import PointmapMetric
from bevdepth_plus.pointmaps.checkpoints import load_model
from bevdepth_plus.pointmaps.heads import Pointmap
from bevdepth_plus.pointmaps.pair_targets import PosedPair, target_pointmaps
from bevdepth_plus.pointmaps.training import PointmapNetworkHook, median_scale
from tests.pointmaps.conftest import SMALL

SIZE = (16, 32)
LINEAR = dict(
    encoder_dim=32,
    encoder_depth=1,
    encoder_heads=2,
    decoder_dim=32,
    decoder_depth=1,
    decoder_heads=2,
    head="linear",
)


@pytest.fixture
def build():
    register_all_modules()
    torch.manual_seed(0)

    def make(network: dict = LINEAR, **options):
        return MODELS.build(dict(type="PointmapTraining", network=network, **options))

    return make


def batch(count: int = 2) -> dict:
    """As the loader gives it: a wall 5 m away, the source 1 m to the right."""
    draw = torch.Generator().manual_seed(0)
    poses = torch.eye(4).repeat(count, 1, 1, 1)
    poses[:, 0, 0, 3] = 1.0
    matrix = torch.tensor([[20.0, 0, 16], [0, 20, 8], [0, 0, 1]])
    return dict(
        images=torch.randint(0, 256, (count, 2, 3, *SIZE), generator=draw, dtype=torch.uint8),
        intrinsics=matrix.expand(count, 2, 3, 3).clone(),
        anchor_T_source=poses,
        depth=torch.full((count, *SIZE), 5.0),
        source_depths=torch.full((count, 1, *SIZE), 5.0),
        token=[f"sequence/{index}" for index in range(count)],
        source_tokens=[["a"] * count],
        sample_idx=torch.arange(count),
    )


def test_a_few_steps_on_one_batch_find_its_points(build):
    model = build().train()
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-2))
    data = batch()
    first, *_, last = [model.train_step(data, optimizer)["point_error"].item() for _ in range(60)]
    assert first > 0.5 and last < 0.1


def test_descriptors_learn_from_true_matches(build):
    model = build(dict(descriptor_dim=6, **SMALL), matching=dict(num=32)).train()
    losses = model(**model.data_preprocessor(batch()), mode="loss")
    losses["loss_matching"].backward()
    assert losses["loss_matching"] > 0
    descriptors = model.network.head1.descriptors
    assert any(parameter.grad.abs().sum() > 0 for parameter in descriptors.parameters())
    with pytest.raises(ValueError, match="matching needs a network with descriptors"):
        build(matching=dict(num=32))
    with pytest.raises(ValueError, match="num >= 2"):
        build(dict(descriptor_dim=6, **SMALL), matching=dict(num=1))


def test_a_few_steps_on_one_pair_find_its_matches(build):
    model = build(dict(descriptor_dim=6, **SMALL), matching=dict(num=256, weight=1.0))
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-2))
    data = batch(1)

    def recall() -> float:
        with torch.no_grad():
            (prediction,) = model.eval().test_step(data)
        return (prediction["match_errors"] < 2).float().mean().item()

    assert recall() < 0.1
    for _ in range(30):
        model.train().train_step(data, optimizer)
    assert recall() > 0.5


def test_descriptors_are_scored_at_true_matches(build):
    model = build(dict(descriptor_dim=6, **SMALL)).eval()  # scored without `matching`, too
    with torch.no_grad():
        predictions = model.test_step(batch())
    # The wall's pixel u is pixel u - 20 / 5 of the source: 28 of 32 columns are seen by both.
    errors = predictions[0]["match_errors"]
    assert errors.shape == (SIZE[0] * (SIZE[1] - 4),) and errors.isfinite().all()
    metric = PointmapMetric()
    metric.process(None, predictions)
    assert 0 <= metric.evaluate(2)["matches/recall_2px"] <= 1
    assert "match_errors" not in build().eval().test_step(batch())[0]


def test_without_a_valid_pixel_nothing_is_learnt(build):
    model = build(dict(descriptor_dim=6, **SMALL), matching=dict(num=32))
    data = batch()
    data["depth"][:] = 0
    data["source_depths"][:] = torch.nan
    losses = model(**model.data_preprocessor(data), mode="loss")
    assert losses["loss_points"] == losses["loss_matching"] == losses["point_error"] == 0
    (losses["loss_points"] + losses["loss_matching"]).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all((gradient == 0).all() for gradient in gradients)


@pytest.mark.parametrize("metric", [True, False])
def test_a_wrong_scale_costs_where_points_are_metres(build, metric):
    model = build(metric=metric)
    data = model.data_preprocessor(batch())
    matrices = data["intrinsics"].unbind(1)
    pair = PosedPair((data["depth"], data["depth"]), matrices, data["anchor_T_source"][:, 0])
    (own, other), _ = target_pointmaps(pair.both_ways())
    # 1 in 1, 2 in 1, 2 in 2, 1 in 2: twice as large as they are.
    model.network.symmetric = lambda *_: [
        Pointmap(2 * points, torch.ones(2, *SIZE))
        for points in (own[:2], other[:2], own[2:], other[2:])
    ]
    error = model(**data, mode="loss")["point_error"]
    assert (error > 0.9) == metric and (error < 1e-5) != metric


def test_a_prediction_holds_depth_and_points_of_its_sample(build):
    model = build()
    data = batch()
    data["depth"][1, 0, 0] = 0
    with torch.no_grad():
        maps = model.eval()(**model.data_preprocessor(data))
        predictions = model.test_step(data)
    assert [prediction["token"] for prediction in predictions] == ["sequence/0", "sequence/1"]
    one = predictions[1]
    assert one["baseline"] == 1.0
    assert torch.equal(one["pred_depths"]["first"], maps[0].points[1, ..., 2])
    assert torch.equal(one["pred_points"]["raw"][1], maps[1].points[1])
    assert not one["valid"][0, 0, 0] and one["valid"].sum() == 2 * SIZE[0] * SIZE[1] - 1
    # Pixel by pixel, the source sees what lies 1 m to the right.
    apart = one["gt_points"][1, :, 1:] - one["gt_points"][0, :, 1:]
    torch.testing.assert_close(apart, torch.tensor([1.0, 0, 0]).expand_as(apart))


def test_the_metric_scores_what_is_predicted(build):
    model = build().eval()
    with torch.no_grad():
        model.network.head1.project.bias.view(4, -1)[2] = 1.0  # all depths about exp(1) - 1 m
    data = batch()
    data["depth"][0], data["source_depths"][1] = 0, torch.nan
    metric = PointmapMetric()
    with torch.no_grad():
        predictions = model.test_step(data)
    metric.process(None, predictions)
    aligned = predictions[1]["pred_depths"]["first_aligned"]
    torch.testing.assert_close(aligned.median(), torch.tensor(5.0))
    logged = metric.evaluate(2)
    assert {f"depth/{name}/abs_rel" for name in ("first", "first_aligned")} <= set(logged)
    errors = [f"points/{n}/{v}/distance" for n in ("raw", "aligned") for v in ("first", "second")]
    assert all(logged[name] > 0 for name in errors)


def test_the_scale_of_the_median_is_taken_where_there_is_one():
    pred = torch.tensor([[[1.0, 2, 3]], [[1, 2, 3]], [[-1, -2, 3]]])
    target = torch.tensor([[[10.0, 20, 0]], [[0, 0, 0]], [[10, 20, 0]]])
    assert median_scale(pred, target, target > 0).tolist() == [10.0, 1.0, 1.0]


def test_the_tools_load_the_network_of_a_checkpoint(build, tmp_path):
    model = build()
    runner = SimpleNamespace(model=model, work_dir=str(tmp_path))
    averaged = {name: tensor + 1 for name, tensor in model.state_dict().items()}  # as of EMAHook
    PointmapNetworkHook().before_save_checkpoint(runner, dict(state_dict=averaged))
    loaded = load_model(tmp_path / "pointmaps.pth")
    assert loaded.config == model.network.config
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.network.state_dict()[name] + 1)
    torch.save(dict(state_dict=averaged, meta={}), tmp_path / "iter_1.pth")
    with pytest.raises(DataError, match="take pointmaps.pth beside its checkpoints"):
        load_model(tmp_path / "iter_1.pth")


def test_images_are_rgb_from_minus_1_to_1_for_the_network(build):
    data = batch(1)
    data["images"] = torch.zeros(1, 2, 3, *SIZE, dtype=torch.uint8)
    data["images"][:, :, 2] = 255  # red, in BGR
    seen = build().data_preprocessor(data)["images"][0, 0, :, 0, 0]
    assert seen.tolist() == [1, -1, -1]


def test_what_is_no_pair_of_depth_maps_is_refused_in_one_line(build):
    model = build()
    data = model.data_preprocessor(batch())
    with pytest.raises(ValueError, match="mode must be one of"):
        model(**data, mode="train")
    with pytest.raises(DataError, match="depth of both views; set the data set's source_depth"):
        model(**{**data, "source_depths": None}, mode="loss")
    three = data["images"][:, [0, 1, 1]]
    with pytest.raises(DataError, match="pairs, got 3 views; set the data set's num_views=2"):
        model(**{**data, "images": three}, mode="loss")
    with pytest.raises(ValueError, match="multiples of 16, got 16 x 30"):
        model(**{**data, "images": data["images"][..., :30]}, mode="loss")
