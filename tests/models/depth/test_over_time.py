"""Losses between the key frame's depth and the past's, through the whole detector."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from mmdet3d.registry import MODELS

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.models.depth.map_losses import DepthMapLosses, DepthMoment, TeacherDepth
from bevdepth_plus.models.depth.over_time import MatchedDepthOverTime, PhotometricOverTime

STRIDE, CELLS = 16, (4, 6)
ORDER = dict(type="TemporalOrderLoss", num_pairs=500)
TERMS = {
    "order": dict(type="MatchedDepthOverTime", loss=ORDER),
    "pearson": dict(
        type="MatchedDepthOverTime",
        loss=dict(type="MatchedDepthLoss", loss=dict(type="PearsonDepthLoss")),
    ),
    "ordinal": dict(
        type="MatchedDepthOverTime",
        loss=dict(type="MatchedDepthLoss", loss=dict(type="OrdinalDepthLoss", alpha=1.0)),
    ),
    "rigid": dict(type="MatchedDepthOverTime", loss=ORDER, source="rigid"),
    "photometric": dict(type="PhotometricOverTime", loss=dict(type="PhotometricLoss")),
}


def identity_correspondence(frames: int = 2, cameras: int = 2) -> dict:
    """What ``LoadOpticalFlow`` gives where nothing moves."""
    u = (torch.arange(CELLS[1]) + 0.5) * STRIDE
    v = (torch.arange(CELLS[0]) + 0.5) * STRIDE
    pixels = torch.stack(torch.meshgrid(u, v, indexing="xy"))  # [2, h, w]
    shape = (frames - 1, cameras)
    return dict(
        correspondence=pixels.expand(*shape, -1, -1, -1).clone(),
        correspondence_valid=torch.ones(*shape, *CELLS, dtype=torch.bool),
    )


@pytest.fixture
def batch(make_batch):
    """Two frames of two cameras, 2 m driven between them."""

    def make(frames: int = 2, flow: bool = True) -> dict:
        data = make_batch(cameras=2, frames=frames)
        for sample in data["data_samples"]:
            poses = sample.metainfo["ego_T_cam"].copy()
            poses[:, :, 0, 3] -= 2.0 * torch.arange(frames).numpy()[:, None]
            sample.set_metainfo(dict(ego_T_cam=poses))
            if flow:
                for name, value in identity_correspondence(frames).items():
                    data["inputs"].setdefault(name, []).append(value)
        return data

    return make


@pytest.fixture
def detector(small_config):
    def build(terms: dict, frames: int = 2, **temporal):
        config = copy.deepcopy(small_config(frames))
        config["depth"]["map_losses"] = terms
        config["temporal"].update(temporal)
        torch.manual_seed(0)
        return MODELS.build(config).train()

    return build


def losses_of(model, data: dict) -> dict:
    return model(**model.data_preprocessor(data, training=True), mode="loss")


@pytest.mark.parametrize("term", TERMS)
def test_each_term_appears_by_name_and_teaches_depth_alone(term, detector, batch):
    model = detector({term: TERMS[term]})
    losses = losses_of(model, batch())
    losses[f"loss_{term}_bin"].backward()
    taught = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert taught == {"image_encoder", "depth"}
    gradients = [p.grad for p in model.depth.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)


def test_all_maps_of_a_fused_prior_can_learn(small_config, batch):
    config = copy.deepcopy(small_config(2))
    config["depth"]["priors"] = dict(
        metric=dict(
            type="MetricDepthPrior", mid_channels=8, canonical_focal=60.0, losses={}, fuse=True
        )
    )
    maps = ["bin", "metric", "fused"]
    config["depth"]["map_losses"] = dict(order={**TERMS["order"], "maps": maps})
    losses = losses_of(MODELS.build(config), batch())
    assert {f"loss_order_{name}" for name in maps} <= set(losses)


def moments(*depths: torch.Tensor, step: float = 0.0) -> list[DepthMoment]:
    """Depth maps [B, N, h, w] of cameras that look ahead while the ego drives, newest first."""
    num = len(depths)
    batch, cameras = depths[0].shape[:2]
    intrinsics = torch.tensor([[60.0, 0, 48], [0, 60, 32], [0, 0, 1]])
    pose = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    poses = pose.repeat(batch, num, cameras, 1, 1)
    poses[..., 0, 3] -= step * torch.arange(num)[:, None]
    eye = torch.eye(3).expand(batch, num, cameras, 3, 3)
    rig = CameraRig(intrinsics.expand_as(eye), poses, eye, torch.eye(4).expand(batch, 4, 4))
    return [DepthMoment(depth, rig.moment(index)) for index, depth in enumerate(depths)]


def as_batch(inputs: dict) -> dict:
    return {name: value[None] for name, value in inputs.items()}


def random_depth(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((1, 2, *CELLS), generator=generator) * 30 + 5


def test_depth_kept_over_time_costs_nothing_and_reversed_depth_does():
    term = MatchedDepthOverTime(STRIDE, ORDER)
    depth = random_depth(0)
    inputs = as_batch(identity_correspondence())
    assert term(moments(depth, depth), inputs) == 0
    assert term(moments(40 - depth, depth), inputs) > 0.5


def test_the_past_is_moved_to_the_key_frame_before_it_is_compared():
    # A wall ahead, seen 4 m nearer after 4 m. L1 of unmoved depths would be 4.
    loss = dict(type="MatchedDepthLoss", loss=dict(type="DepthL1Loss"))
    far, near = torch.full((1, 2, *CELLS), 30.0), torch.full((1, 2, *CELLS), 26.0)
    for source in ("flow", "rigid"):
        term = MatchedDepthOverTime(STRIDE, loss, source=source)
        cost = term(moments(near, far, step=4.0), as_batch(identity_correspondence()))
        assert cost == pytest.approx(0, abs=1e-4)
        assert term(moments(far, far, step=4.0), as_batch(identity_correspondence())) > 0


def test_the_past_gets_a_gradient_only_where_it_is_asked_for():
    inputs = as_batch(identity_correspondence())
    for symmetric in (False, True):
        term = MatchedDepthOverTime(STRIDE, {**ORDER, "symmetric": symmetric})
        key, past = random_depth(0).requires_grad_(), random_depth(1).requires_grad_()
        term(moments(key, past), inputs).backward()
        assert key.grad is not None and key.grad.abs().sum() > 0
        assert (past.grad is not None and bool(past.grad.abs().sum() > 0)) == symmetric


def test_three_frames_teach_the_past_with_past_gradient_alone(detector, batch):
    def image_gradient(**temporal):
        model = detector({"order": TERMS["order"]}, frames=3, **temporal)
        seen = []
        original = model.depth.map_losses.losses["order"].pair_loss
        model.depth.map_losses.losses["order"].pair_loss = lambda newer, older, pair, inputs: (
            seen.append(pair) or original(newer, older, pair, inputs)
        )
        losses_of(model, batch(frames=3))["loss_order_bin"].backward()
        return seen

    assert image_gradient() == [0]
    assert image_gradient(past_gradient=True) == [0, 1]


@pytest.mark.parametrize("source", ["flow", "rigid"])
def test_cameras_that_are_out_are_not_compared(source):
    depth = random_depth(0)
    pair = moments(40 - depth, depth)
    works = torch.tensor([[False, True]])
    pair = [moment._replace(cameras=replace(moment.cameras, mask=works)) for moment in pair]
    inputs = as_batch(identity_correspondence())
    inputs["correspondence_valid"] &= works[:, None, :, None, None]
    key = pair[0].depth.clone().requires_grad_()
    term = MatchedDepthOverTime(STRIDE, ORDER, source=source, tolerance=10.0)
    term([pair[0]._replace(depth=key), pair[1]], inputs).backward()
    assert key.grad[:, 0].abs().sum() == 0 and key.grad[:, 1].abs().sum() > 0


@pytest.mark.parametrize("term", TERMS)
def test_a_gpu_and_its_host_never_wait_for_each_other(term, host_waits):
    inputs = as_batch(identity_correspondence())
    inputs["img"] = torch.rand(1, 4, 3, 64, 96)
    loss = MODELS.build(copy.deepcopy(TERMS[term]), default_args=dict(stride=STRIDE))
    pair = moments(random_depth(0).requires_grad_(), random_depth(1), step=2.0)
    with host_waits() as waits:
        loss(pair, inputs).backward()
    assert waits.found == []


@pytest.mark.parametrize("term", TERMS)
def test_a_first_frame_without_a_past_costs_nothing_and_keeps_a_gradient(term):
    # The loader repeats the key frame and marks no correspondence as valid.
    depth = random_depth(0)
    inputs = as_batch(identity_correspondence())
    inputs["correspondence_valid"] &= False
    inputs["img"] = torch.zeros(1, 4, 3, 64, 96)
    config = copy.deepcopy(TERMS[term])
    key = depth.clone().requires_grad_()
    loss = MODELS.build(config, default_args=dict(stride=STRIDE))(moments(key, depth), inputs)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-5)
    assert key.grad is not None and key.grad.isfinite().all()


def test_nan_where_nothing_is_compared_reaches_neither_loss_nor_gradient():
    depth = random_depth(0)
    depth[0, 0, 0, 0] = torch.nan
    inputs = as_batch(identity_correspondence())
    inputs["correspondence_valid"][..., 0, 0] = False
    key = (40 - depth).requires_grad_()
    loss = MatchedDepthOverTime(STRIDE, ORDER)(moments(key, depth), inputs)
    loss.backward()
    assert loss.isfinite() and key.grad.isfinite().all()


def test_photometric_loss_prefers_the_true_depth():
    # A textured wall 20 m ahead, then 18 m: the older image is the newer one, shrunk.
    generator = torch.Generator().manual_seed(0)
    texture = torch.rand(1, 3, 8, 12, generator=generator)
    newest = torch.nn.functional.interpolate(texture, (64, 96), mode="bicubic")
    v, u = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    grid = torch.stack([(u - 48) * 20 / 18 / 48, (v - 32) * 20 / 18 / 32], dim=-1)[None]
    older = torch.nn.functional.grid_sample(newest, grid, align_corners=False)
    images = torch.cat([newest, newest, older, older])[None] * 255
    term = PhotometricOverTime(
        STRIDE, loss=dict(type="PhotometricLoss", auto_mask=False), mean=(0, 0, 0), std=(1, 1, 1)
    )

    def cost(depth: float) -> float:
        maps = torch.full((1, 2, *CELLS), depth)
        return float(term(moments(maps, maps, step=2.0), dict(img=images)))

    assert cost(18.0) < 0.5 * min(cost(9.0), cost(60.0))


def test_a_teacher_of_another_scale_teaches_order_and_shape():
    depth = random_depth(0)
    pixels = depth.repeat_interleave(STRIDE, -2).repeat_interleave(STRIDE, -1)
    inputs = dict(teacher_depth=0.01 * pixels**1.5)
    ordinal = TeacherDepth(STRIDE, dict(type="OrdinalDepthLoss", alpha=1.0))
    pearson = TeacherDepth(STRIDE, dict(type="PearsonDepthLoss"))
    for loss, right in ((ordinal, 0.1), (pearson, 0.05)):
        assert loss(moments(depth), inputs) < right  # the past is not needed
        assert loss(moments(40 - depth), inputs) > 1.5
    with pytest.raises(DataError, match="LoadTeacherDepth"):
        ordinal(moments(depth), {})


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="source must be one of flow, rigid"):
        MatchedDepthOverTime(STRIDE, ORDER, source="stereo")
    with pytest.raises(ValueError, match="maps must be a list of names"):
        MatchedDepthOverTime(STRIDE, ORDER, maps="bin")
    with pytest.raises(ValueError, match="image_stride must divide"):
        PhotometricOverTime(STRIDE, image_stride=5)
    with pytest.raises(ValueError, match=r"map_losses.order: no depth map 'metric'"):
        DepthMapLosses({"order": {**TERMS["order"], "maps": ["metric"]}}, STRIDE, ["bin"])
    with pytest.raises(ValueError, match=r"map_losses.bin: the name of a depth map"):
        DepthMapLosses({"bin": TERMS["order"]}, STRIDE, ["bin"])


def test_what_the_data_lack_is_named(detector, batch):
    model = detector({"order": TERMS["order"]})
    with pytest.raises(DataError, match=r"LoadOpticalFlow.*stride=16.*source='rigid'"):
        losses_of(model, batch(flow=False))
    one_frame = detector({"order": TERMS["order"]}, frames=1)
    with pytest.raises(DataError, match="MatchedDepthOverTime compares frames.*num_frames"):
        losses_of(one_frame, batch(frames=1, flow=False))
    data = batch()
    finer = {name: v.repeat_interleave(2, -1) for name, v in identity_correspondence().items()}
    data["inputs"].update({name: [value] for name, value in finer.items()})
    with pytest.raises(DataError, match=r"on \(4, 12\) cells, depth on \(4, 6\)"):
        losses_of(model, data)
    fused = detector({"order": {**TERMS["order"], "maps": ["fused"]}})
    with pytest.raises(DataError, match="gives no 'fused' depth, it gives bin"):
        losses_of(fused, batch())
