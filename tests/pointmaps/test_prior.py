"""What the pointmap prior says, with a network that knows the wall in front of the cameras."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from mmengine.runner.checkpoint import get_state_dict
from torch import nn

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.geometry.pinhole import pixel_centres, rays
from bevdepth_plus.models.depth.prior import View
from bevdepth_plus.pointmaps.checkpoints import save_model
from bevdepth_plus.pointmaps.heads import Pointmap
from bevdepth_plus.pointmaps.prior import PointmapPrior

STRIDE, DEPTH = 8, 8.0
BINS = DepthBins(2.0, 58.0, 0.5)
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)


class WallNetwork(nn.Module):
    """Exact pointmaps of a wall at 8 m, for cameras that move along it; 0.4 units a metre.

    How far a camera moved is written in the red of its image, metres / 10; green has to be 0.5.
    """

    def __init__(self, confidence: float = 4.0) -> None:
        super().__init__()
        self.unit = nn.Parameter(torch.tensor(0.4))
        self.confidence = confidence
        self.sizes = []

    def forward(self, images1: torch.Tensor, images2: torch.Tensor) -> tuple[Pointmap, Pointmap]:
        size = images1.shape[-2:]
        self.sizes.append(tuple(size))
        torch.testing.assert_close(images1[:, 1], torch.full_like(images1[:, 1], 0.5))
        moved = 10 * (images2[:, 0, 0, 0] - images1[:, 0, 0, 0])
        pixels = pixel_centres(size).flatten(0, 1)
        matrix = torch.tensor([[200.0, 0, size[1] / 2], [0, 200, size[0] / 2], [0, 0, 1]])
        own = (rays(pixels, matrix) * DEPTH).view(1, *size, 3).expand(len(moved), -1, -1, -1)
        shift = torch.stack([-moved, 0 * moved, 0 * moved], dim=-1)  # left is -x
        confidence = torch.full((len(moved), *size), self.confidence)
        return (
            Pointmap(self.unit * own, confidence),
            Pointmap(self.unit * (own + shift[:, None, None]), confidence),
        )


def cameras(left: float | tuple[float, ...] = 0.0, size=(64, 128), num: int = 1) -> Cameras:
    """Cameras that look along ego's x, moved to the left."""
    matrix = torch.tensor([[200.0, 0, size[1] / 2], [0, 200, size[0] / 2], [0, 0, 1]])
    pose = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    poses = pose.repeat(1, num, 1, 1)
    poses[0, :, 1, 3] = torch.as_tensor(left)
    identity = torch.eye(3).expand(1, num, 3, 3)
    return Cameras(matrix.expand(1, num, 3, 3), poses, identity, torch.eye(4)[None])


def view(at: Cameras, past: tuple[View, ...] = (), size=(64, 128), to_rgb: bool = True) -> View:
    colours = torch.zeros(1, at.num_cameras, 3, *size)
    colours[:, :, 0] = at.ego_T_cam[..., 1, 3, None, None] / 10
    colours[:, :, 1] = 0.5
    colours = (colours + 1) * 127.5
    colours = colours if to_rgb else colours.flip(2)
    images = (colours - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    features = torch.zeros(1, at.num_cameras, 4, size[0] // STRIDE, size[1] // STRIDE)
    return View(images, features, at, at, past)


@pytest.fixture
def weights(small_model, tmp_path):
    save_model(small_model, tmp_path / "small.pth")
    return str(tmp_path / "small.pth")


@pytest.fixture
def make_prior(weights):
    def make(confidence: float = 4.0, **options) -> PointmapPrior:
        made = PointmapPrior(4, STRIDE, weights, MEAN, STD, **options)
        made.network = WallNetwork(confidence).requires_grad_(not made.frozen)
        return made

    return make


def bins_of(prior: PointmapPrior, given: View) -> torch.Tensor:
    cells = tuple(given.features.shape[-2:])
    log = prior.log_bins(prior(given), BINS, cells)
    assert log.shape == (1, given.cameras.num_cameras, BINS.num_bins, *cells)
    return log


@pytest.mark.parametrize("to_rgb", [True, False])
def test_the_past_image_tells_the_depth_of_a_wall(make_prior, to_rgb):
    prior = make_prior(to_rgb=to_rgb)
    given = view(cameras(), (view(cameras(1.0), to_rgb=to_rgb),), to_rgb=to_rgb)
    found = prior(given)
    assert found.depth.shape == (1, 1, 8, 16)
    torch.testing.assert_close(found.depth, torch.full_like(found.depth, DEPTH), rtol=1e-3, atol=0)
    assert prior.maps(found, (8, 16)) is found.depth
    # 8 m is the edge between two bins, and they are the most likely.
    log = bins_of(prior, given)
    best = BINS.centres()[log.topk(2, dim=2).indices]
    assert ((best - DEPTH).abs() < 0.26).all()
    # Far away there is the uniform floor: it can be outvoted.
    torch.testing.assert_close(log[:, :, -1], torch.full_like(log[:, :, -1], 0.1).log())


def test_half_precision_leaves_poses_and_intrinsics_as_they_are(make_prior):
    prior, size = make_prior(), (72, 136)
    given = view(cameras(5.0, size), (view(cameras(6.231, size), size=size),), size)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = prior(given)
    torch.testing.assert_close(found.depth, torch.full_like(found.depth, DEPTH), rtol=5e-4, atol=0)


def test_low_confidence_makes_it_wide_and_lower_makes_it_silent(make_prior):
    given = view(cameras(), (view(cameras(1.0)),))
    sure, doubtful = (bins_of(make_prior(c), given) for c in (20.0, 1.6))
    beside = BINS.index(torch.tensor(9.25)).item()
    assert (sure[:, :, beside] < doubtful[:, :, beside] - 1).all()
    assert (bins_of(make_prior(1.4), given) == 0).all()


def test_it_is_silent_when_the_vehicle_stands(make_prior):
    prior = make_prior()
    given = view(cameras(), (view(cameras(0.1)), view(cameras())))
    assert (bins_of(prior, given) == 0).all() and prior.network.sizes == []
    assert (prior.maps(prior(given), (8, 16)) == 0).all()


def test_without_a_past_it_says_nothing_at_all(make_prior):
    prior = make_prior()
    nothing = prior(view(cameras()))
    assert nothing is None and prior.log_bins(nothing, BINS, (8, 16)) is None
    assert prior.maps(nothing, (8, 16)) is None and prior.loss(nothing, None, None) == {}


def test_the_newest_past_with_a_baseline_is_taken_for_each_camera(make_prior):
    prior = make_prior(pairs_at_once=1)
    first = view(cameras(num=3))
    # Camera 0 moved in the newest past, camera 1 only before, camera 2 never.
    near, far = view(cameras((1.0, 0.0, 0.0), num=3)), view(cameras((2.0, 1.5, 0.0), num=3))
    found = prior(replace(first, past=(near, far)))
    known = (found.depth > 0).flatten(2).all(-1)
    assert known.tolist() == [[True, True, False]]
    torch.testing.assert_close(found.depth[known], torch.full((2, 8, 16), DEPTH), rtol=1e-3, atol=0)
    assert len(prior.network.sizes) == 2


def test_a_camera_that_is_out_is_silent(make_prior):
    prior = make_prior()
    out = replace(cameras(num=2), mask=torch.tensor([[True, False]]))
    past = replace(cameras(1.0, num=2), mask=torch.tensor([[False, True]]))
    found = prior(view(out, (view(cameras(1.0, num=2)),)))
    assert (found.depth > 0).flatten(2).any(-1).tolist() == [[True, False]]
    assert not (prior(view(cameras(num=2), (view(past),))).depth[:, 0] > 0).any()


def test_a_list_without_cameras_gives_nothing(make_prior):
    empty = cameras(torch.zeros(0), num=0)
    found = make_prior()(view(empty, (view(empty),)))
    assert found.depth.shape == (1, 0, 8, 16)


def test_sides_that_are_no_multiple_of_16_are_cropped_about_the_centre(make_prior):
    prior = make_prior()
    size = (72, 136)
    found = prior(view(cameras(size=size), (view(cameras(1.0, size), size=size),), size))
    assert prior.network.sizes == [(64, 128)]
    # 4 pixels are left over on each side, half a cell: each cell still has depth of its own.
    torch.testing.assert_close(found.depth, torch.full((1, 1, 9, 17), DEPTH), rtol=1e-3, atol=0)
    size = (88, 136)
    found = prior(view(cameras(size=size), (view(cameras(1.0, size), size=size),), size))
    assert prior.network.sizes[-1] == (80, 128)
    size = (64, 120)
    found = prior(view(cameras(size=size), (view(cameras(1.0, size), size=size),), size))
    assert prior.network.sizes[-1] == (64, 112) and (found.depth > 0).all()


def test_a_frozen_network_has_no_gradient_and_a_free_one_has(make_prior):
    given = view(cameras(), (view(cameras(1.0)),))
    frozen = make_prior().train()
    assert not frozen.network.training and not bins_of(frozen, given).requires_grad
    free = make_prior(frozen=False).train()
    assert free.network.training
    log = bins_of(free, given)
    log.square().sum().backward()
    assert free.network.unit.grad.isfinite()


def test_a_frozen_network_is_not_in_the_checkpoint(weights):
    frozen = nn.ModuleDict(dict(pointmaps=PointmapPrior(4, STRIDE, weights)))
    kept = {name: value.clone() for name, value in frozen.pointmaps.network.state_dict().items()}
    for state in (frozen.state_dict(), get_state_dict(frozen)):
        assert list(state) == []
        frozen.load_state_dict(state, strict=True)
    for name, value in frozen.pointmaps.network.state_dict().items():
        assert torch.equal(value, kept[name])
    free = nn.ModuleDict(dict(pointmaps=PointmapPrior(4, STRIDE, weights, frozen=False)))
    state = free.state_dict()
    assert len(state) == len(kept)
    free.load_state_dict({name: value + 1 for name, value in state.items()}, strict=True)
    assert torch.equal(next(free.parameters()), next(iter(kept.values())) + 1)


def test_bad_weights_and_options_are_one_line(tmp_path):
    with pytest.raises(DataError, match=r"none.pth does not exist"):
        PointmapPrior(4, STRIDE, str(tmp_path / "none.pth"))
    (tmp_path / "broken.pth").write_bytes(b"PK")
    with pytest.raises(DataError, match="is not a pointmap network of this project"):
        PointmapPrior(4, STRIDE, str(tmp_path / "broken.pth"))
    with pytest.raises(ValueError, match="0 < trust < 1"):
        PointmapPrior(4, STRIDE, "any.pth", trust=1.0)
