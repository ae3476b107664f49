from __future__ import annotations

import copy
import math

import pytest
import torch
from mmdet3d.registry import MODELS

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.models.depth.canonical_bins import CanonicalBins
from bevdepth_plus.models.depth.focal_branch import FocalBranch
from bevdepth_plus.models.depth.metric_prior import MetricDepth, MetricDepthPrior
from bevdepth_plus.models.depth.prior import View

LOSSES = dict(
    silog=dict(type="SILogLoss"),
    vnl=dict(type="VirtualNormalLoss"),
    l1=dict(type="DepthL1Loss"),
)


def metric_prior(**options) -> MetricDepthPrior:
    torch.manual_seed(0)
    defaults = dict(in_channels=8, mid_channels=8, canonical_focal=60.0, losses=LOSSES, fuse=True)
    return MetricDepthPrior(**{**defaults, **options})


def features(cameras: int = 2) -> torch.Tensor:
    return torch.randn(1, cameras, 8, 4, 6, generator=torch.Generator().manual_seed(1))


def cameras_of(focal: float, cameras: int = 1) -> Cameras:
    intrinsics = torch.tensor([[focal, 0, 48], [0, focal, 32], [0, 0, 1]])
    return Cameras(
        intrinsics=intrinsics.expand(1, cameras, 3, 3),
        ego_T_cam=torch.eye(4).expand(1, cameras, 4, 4),
        image_aug=torch.eye(3).expand(1, cameras, 3, 3),
        bev_aug=torch.eye(4)[None],
    )


def view_of(image_features: torch.Tensor, focal: float) -> View:
    cameras = cameras_of(focal, image_features.shape[1])
    return View(torch.zeros(1), image_features, cameras, key=cameras)


def spread_about(model: MetricDepthPrior, depth: float, spread: float, cells=(1, 1)) -> MetricDepth:
    """What the prior would say if its bins were normal in log depth; the camera is canonical."""
    centres = model.log_start + model.log_step * (torch.arange(model.num_bins) + 0.5)
    logits = -0.5 * ((centres - math.log(depth)) / spread) ** 2
    logits = logits[None, None, :, None, None].expand(1, 1, -1, *cells).clone().requires_grad_()
    return MetricDepth(torch.full((1, 1, *cells), depth), logits, torch.zeros(1, 1))


def test_the_same_image_under_twice_the_focal_length_is_twice_as_far():
    model = metric_prior().eval()
    near, far = (model(view_of(features(), focal)) for focal in (60.0, 120.0))
    torch.testing.assert_close(far.depth, 2 * near.depth)
    torch.testing.assert_close(model.confidence(far), model.confidence(near))


def test_depth_is_positive_and_within_the_range_whatever_the_features():
    model = metric_prior(depth_range=(1.0, 100.0)).eval()
    depth = model(view_of(1e4 * features(), 60.0)).depth
    assert depth.min() >= 1.0 - 1e-4 and depth.max() <= 100.0 + 1e-2


@pytest.mark.parametrize("upsample", [1, 2, 4])
def test_depth_may_be_finer_than_the_features_and_is_supervised_there(upsample):
    model = metric_prior(upsample=upsample)
    found = model(view_of(features(1), 60.0))
    assert found.depth.shape == (1, 1, 4 * upsample, 6 * upsample)
    labels = torch.zeros(1, 1, 64, 96)
    labels[..., 33, 17] = 20.0
    losses = model.loss(found, labels, cameras_of(60.0))
    gradient = torch.autograd.grad(losses["l1"], found.depth)[0]
    row, column = (index * upsample // 16 for index in (33, 17))
    assert gradient[0, 0, row, column] != 0
    assert (gradient != 0).sum() == 1


def test_the_prior_learns_depth_by_each_loss_alone():
    target = torch.full((1, 1, 64, 96), 12.0)
    target[..., 48:] = 25.0
    for name in ("silog", "l1"):
        model = metric_prior(losses={name: LOSSES[name]}, depth_range=(0.5, 80.0))
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        view = view_of(features(1), 60.0)
        for _ in range(80):
            found = model(view)
            loss = sum(model.loss(found, target, view.cameras).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        near, far = found.depth[..., :3].mean().item(), found.depth[..., 3:].mean().item()
        assert far / near == pytest.approx(25 / 12, rel=0.2), name


def test_no_label_gives_no_loss_but_a_gradient_of_zero():
    model = metric_prior(losses={**LOSSES, "rpnl": dict(type="RandomProposalNormalizationLoss")})
    found = model(view_of(features(), 60.0))
    total = sum(model.loss(found, torch.zeros(1, 2, 64, 96), cameras_of(60.0, 2)).values())
    assert total == 0
    total.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_bins_are_taught_to_put_their_mean_at_the_target():
    model = metric_prior(num_bins=40)
    for target in (2.3, 17.0, 61.0):
        logits = torch.zeros(1, 1, 40, 1, 1, requires_grad=True)
        for _ in range(300):
            found = MetricDepth(torch.ones(1, 1, 1, 1), logits, torch.zeros(1, 1))
            loss = model._cross_entropy(found, torch.full((1, 1, 1, 1), target))
            (gradient,) = torch.autograd.grad(loss, logits)
            logits = (logits - 3 * gradient).detach().requires_grad_()
        place = (logits.softmax(2).flatten() * (torch.arange(40) + 0.5)).sum()
        depth = math.exp(model.log_start + model.log_step * place.item())
        assert depth == pytest.approx(target, rel=0.03)


def test_confidence_is_the_probability_of_an_error_below_a_quarter():
    model = metric_prior(num_bins=400)
    draws = torch.distributions.Normal(0.0, 0.2).sample((200_000,))
    share = (draws.abs() < math.log(1.25)).float().mean()
    found = model.confidence(spread_about(model, 10.0, 0.2)).item()
    assert found == pytest.approx(share.item(), abs=5e-3)


def test_the_prior_is_the_mass_of_each_bin_and_peaks_at_the_depth():
    model, bins = metric_prior(num_bins=400), DepthBins(1.0, 101.0, 1.0)
    prior = model.log_bins(spread_about(model, 20.4, 0.05), bins, (1, 1), floor=1e-6)
    prior = prior.exp().flatten()
    assert prior.sum().item() == pytest.approx(1, abs=1e-3)
    assert prior.argmax() in (19, 20)  # [20, 22)
    draws = 20.4 * torch.distributions.Normal(0.0, 0.05).sample((200_000,)).exp()
    counted = (bins.index(draws) == 19).float().mean()
    assert prior[19].item() == pytest.approx(counted.item(), abs=5e-3)


def test_the_prior_moves_with_the_focal_length():
    model, bins = metric_prior(num_bins=400), DepthBins(1.0, 101.0, 1.0)
    found = spread_about(model, 20.5, 0.02)
    longer = found._replace(log_focal=torch.full((1, 1), math.log(2.0)))
    prior = model.log_bins(longer, bins, (1, 1))
    assert bins.centres()[prior.argmax()].item() == pytest.approx(41.0, abs=1.0)


def test_a_depth_beyond_the_bins_says_nothing_about_them():
    model = metric_prior()
    far = spread_about(model, 150.0, 0.05)
    prior = model.log_bins(far, DepthBins(1.0, 11.0, 1.0), (1, 1)).exp()
    assert prior.max() - prior.min() < 1e-4


def test_the_shifted_bins_teach_the_prior():
    model = metric_prior()
    found = spread_about(model, 20.4, 0.1)
    prior = model.log_bins(found, DepthBins(1.0, 61.0, 1.0), (1, 1)).exp()
    prior[0, 0, 30].sum().backward()  # a bin beyond the depth
    slope = found.logits.grad.flatten()
    centres = (model.log_start + model.log_step * (torch.arange(64) + 0.5)).exp()
    assert centres[slope.argmax()].item() == pytest.approx(31.5, rel=0.1)


def test_of_finer_depth_the_nearest_in_a_cell_is_the_prior():
    model, bins = metric_prior(), DepthBins(1.0, 61.0, 1.0)
    near, far = spread_about(model, 7.5, 0.1), spread_about(model, 40.0, 0.5, (2, 2))
    depth, logits = far.depth.clone(), far.logits.detach().clone()
    depth[0, 0, 1, 0], logits[0, 0, :, 1, 0] = 7.5, near.logits.detach().flatten()
    fine = model.log_bins(far._replace(depth=depth, logits=logits), bins, (1, 1))
    torch.testing.assert_close(fine, model.log_bins(near, bins, (1, 1)))


def test_the_focal_branch_learns_what_lens_took_an_image():
    branch = FocalBranch(8, 8, typical_focal=60.0, loss_weight=1.0)
    optimizer = torch.optim.Adam(branch.parameters(), lr=1e-2)
    for _ in range(100):
        pairs = ((cameras_of(40.0), features(1)), (cameras_of(90.0), -features(1)))
        loss = sum(branch.loss(branch(image), rig) for rig, image in pairs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert branch(features(1)).item() == pytest.approx(40, rel=0.1)
    assert branch(-features(1)).item() == pytest.approx(90, rel=0.1)


def test_with_estimated_focal_lengths_those_of_the_info_file_do_not_matter(
    small_config, make_batch
):
    config = with_prior(small_config())
    config["depth"].update(
        focal_branch=dict(type="FocalBranch", mid_channels=8, typical_focal=60.0),
        estimate_focal=True,
    )
    torch.manual_seed(0)
    model = MODELS.build(config)
    model.eval()

    def depth(focal: float):
        batch = make_batch()
        batch["data_samples"][0].metainfo["intrinsics"][..., [0, 1], [0, 1]] = focal
        with torch.no_grad():
            return model.test_step(batch)[0].pred_depths["metric"]

    torch.testing.assert_close(depth(60.0), depth(300.0))
    model.depth.estimate_focal = False
    torch.testing.assert_close(5 * depth(60.0), depth(300.0))


def test_estimating_without_a_branch_says_what_is_missing(small_config):
    with pytest.raises(ValueError, match="focal_branch"):
        config = small_config()
        config["depth"]["estimate_focal"] = True
        MODELS.build(config)


def canonical_bins(metric: DepthBins) -> CanonicalBins:
    return CanonicalBins(100.0, dict(start=1.0, stop=101.0, step=1.0), metric)


def test_bins_of_canonical_depth_move_with_the_focal_length():
    metric = DepthBins(2.0, 42.0, 1.0)
    logits = torch.zeros(1, 3, 100, 1, 1)
    logits[:, :, 19] = 10.0  # canonical depth 20.5
    found = canonical_bins(metric).to_metric(logits, torch.tensor([[100.0, 200.0, 50.0]]))
    centres = metric.centres()[found.argmax(2).flatten()]
    assert centres.tolist() == pytest.approx([20.5, 41.0, 10.25], abs=0.5)


def test_at_the_canonical_focal_length_equal_bins_keep_their_mass():
    metric = DepthBins(2.0, 42.0, 1.0)
    logits = torch.randn(1, 1, 100, 2, 3, generator=torch.Generator().manual_seed(0))
    found = canonical_bins(metric).to_metric(logits, torch.tensor([[100.0]]))
    torch.testing.assert_close(found, logits.softmax(2)[:, :, 1:41])


def test_no_canonical_mass_is_counted_twice_and_what_lies_beyond_is_lost():
    logits = torch.randn(1, 1, 100, 2, 3, generator=torch.Generator().manual_seed(0))
    for focal, low, high in ((30.0, 2.0, 12.0), (100.0, 2.0, 42.0), (300.0, 6.0, 96.0)):
        metric = DepthBins(low, high, 1.0)  # as canonical depth: low to high times 100 / focal
        found = canonical_bins(metric).to_metric(logits, torch.tensor([[focal]]))
        edges = torch.tensor([low, high]) * 100 / focal - 1.0  # in bins
        share = logits.softmax(2).cumsum(2)
        below = [torch.lerp(share[:, :, int(e) - 1], share[:, :, int(e)], e % 1) for e in edges]
        torch.testing.assert_close(found.sum(2), below[1] - below[0], rtol=1e-4, atol=1e-6)


def test_the_mean_depth_of_half_the_mass_is_that_of_the_whole():
    bins = DepthBins(2.0, 12.0, 1.0)
    probabilities = torch.rand(1, 1, 10, 2, 2, generator=torch.Generator().manual_seed(0))
    probabilities = probabilities / probabilities.sum(2, keepdim=True)
    torch.testing.assert_close(
        bins.expectation(0.5 * probabilities), bins.expectation(probabilities)
    )


def with_prior(config: dict, **options) -> dict:
    config = copy.deepcopy(config)
    prior = dict(
        type="MetricDepthPrior",
        mid_channels=8,
        canonical_focal=60.0,
        losses=dict(silog=dict(type="SILogLoss")),
        **options,
    )
    config["depth"]["priors"] = dict(metric=prior)
    return config


def test_fused_depth_trains_every_part_and_is_reported(small_config, make_batch):
    config = with_prior(small_config(), fuse=True)
    config["depth"]["canonical_bins"] = dict(focal=60.0, bins=dict(start=1.0, stop=61.0, step=2.0))
    model = MODELS.build(config).train()
    data = model.data_preprocessor(make_batch(cameras=2), training=True)
    losses = model(**data, mode="loss")
    assert {"loss_depth_fused", "loss_metric_silog", "loss_metric_bins"} < set(losses)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    with torch.no_grad():
        (sample,) = model.test_step(make_batch(cameras=2))
    assert list(sample.pred_depths) == ["bin", "metric", "fused"]
    assert {depth.shape for depth in sample.pred_depths.values()} == {(2, 4, 6)}


def test_the_fused_depth_reaches_the_boxes_and_an_auxiliary_one_does_not(small_config, make_batch):
    def gradient(fuse: bool) -> float:
        torch.manual_seed(0)
        model = MODELS.build(with_prior(small_config(), fuse=fuse)).train()
        data = model.data_preprocessor(make_batch(), training=True)
        losses = model(**data, mode="loss")
        (losses["loss_heatmap"] + losses["loss_bbox"]).backward()
        grads = [p.grad for p in model.depth.priors["metric"].trunk.parameters()]
        return sum(g.abs().sum().item() for g in grads if g is not None)

    assert gradient(fuse=True) > 0
    assert gradient(fuse=False) == 0


def test_an_auxiliary_prior_can_be_dropped_without_changing_the_boxes(small_config, make_batch):
    torch.manual_seed(0)
    full = MODELS.build(with_prior(small_config()))
    full.eval()
    dropped = MODELS.build(small_config())
    dropped.load_state_dict(
        {k: v for k, v in full.state_dict().items() if not k.startswith("depth.priors")}
    )
    dropped.eval()
    with torch.no_grad():
        heatmaps = [
            model(**model.data_preprocessor(make_batch()), mode="tensor")["boxes"][0][0]["heatmap"]
            for model in (full, dropped)
        ]
    torch.testing.assert_close(*heatmaps, rtol=0, atol=0)


def test_the_ground_cue_tells_the_depth_net_how_high_the_camera_stands(small_config, make_batch):
    config = small_config()
    config["depth"]["ground_cue"] = True
    config["depth"]["depth_net"].pop("in_channels")
    config["depth"]["depth_net"]["camera_aware"] = False
    model = MODELS.build(config)
    model.eval()

    def depth(height: float):
        batch = make_batch()
        batch["data_samples"][0].metainfo["ego_T_cam"][..., 2, 3] = height
        with torch.no_grad():
            return model.test_step(batch)[0].pred_depths["bin"]

    assert not torch.allclose(depth(1.5), depth(0.8))
