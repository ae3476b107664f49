from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn import functional

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.depth_bins import DepthBins
from bevdepth_plus.geometry.pinhole import cell_centres
from bevdepth_plus.models.depth.prior import View
from bevdepth_plus.triangulation.prior import TriangulationPrior

STRIDE, CELLS, DEPTH = 8, (16, 32), 8.0
BINS = DepthBins(2.0, 58.0, 0.5)


def cameras(sideways: float = 0.0, num: int = 1, apart: float = 0.0) -> Cameras:
    """Cameras that look along ego's x, moved to the left."""
    matrix = torch.tensor([[200.0, 0, 128], [0, 200, 64], [0, 0, 1]])
    pose = torch.tensor([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    poses = pose.repeat(1, num, 1, 1)
    poses[0, :, 1, 3] = sideways + apart * torch.arange(num)
    identity = torch.eye(3).expand(1, num, 3, 3)
    return Cameras(matrix.expand(1, num, 3, 3), poses, identity, torch.eye(4)[None])


def features(moved: Cameras) -> torch.Tensor:
    """Of a wall at 8 m: a code of the place on it that each cell sees, ``[1, N, C, H, W]``."""
    u, v = cell_centres(CELLS, STRIDE)
    left = moved.ego_T_cam[0, :, 1, 3, None, None]
    x = (u - 128) / 200 * DEPTH - left  # to the right on the wall, [N, 1, W]
    y = ((v - 64) / 200 * DEPTH)[:, None].expand(*CELLS)
    waves = torch.tensor([0.9, 1.7, 2.9, 4.1])[:, None, None]
    x = x.expand(len(x), *CELLS)[:, None]
    code = [(waves * x).sin(), (waves * x).cos(), (waves * y).sin().expand(len(x), -1, -1, -1)]
    return torch.cat(code, dim=1)[None]


def view(at: Cameras, past: tuple[View, ...] = ()) -> View:
    images = torch.zeros(1, at.num_cameras, 3, CELLS[0] * STRIDE, CELLS[1] * STRIDE)
    return View(images, features(at), at, at, past)


def prior() -> TriangulationPrior:
    made = TriangulationPrior(12, STRIDE, channels=12)
    with torch.no_grad():
        made.descriptor.weight.copy_(torch.eye(12)[..., None, None])
        made.descriptor.bias.zero_()
    return made


def expected_depth(made: TriangulationPrior, given: View) -> torch.Tensor:
    log = made.log_bins(made(given), BINS, CELLS)  # [1, N, D, H, W]
    return (functional.softmax(log, 2) * BINS.centres()[:, None, None]).sum(2)


def test_a_past_frame_tells_the_depth_of_a_wall():
    made = prior()
    found = made(view(cameras(), (view(cameras(sideways=1.0)),)))
    mean = found.inverse_depth.mean[found.trust > 0.5]
    assert len(mean) > 200 and (1 / mean.median() - DEPTH).abs() < 0.3
    log = made.log_bins(found, BINS, CELLS)
    best = BINS.centres()[log.argmax(2)].flatten()[(found.trust > 0.5).flatten()]
    assert (best.median() - DEPTH).abs() < 0.6


def test_a_neighbouring_camera_tells_it_when_the_vehicle_stands():
    found = prior()(view(cameras(num=2, apart=0.8)))
    mean = found.inverse_depth.mean[found.trust > 0.5]
    assert len(mean) > 100 and (1 / mean.median() - DEPTH).abs() < 0.5


def test_grey_patches_tell_it_where_features_are_all_alike():
    made = TriangulationPrior(
        12,
        STRIDE,
        channels=4,
        moving_radius=0,  # that check compares features
        matcher=dict(patch_radius=3, temperature=0.05, threshold=0.7),
    )

    def papered(at: Cameras, past: tuple[View, ...] = ()) -> View:
        """The wall with a paper of fine waves; features do not tell one place from another."""
        u, v = cell_centres((CELLS[0] * STRIDE, CELLS[1] * STRIDE), 1)
        x = (u - 128) / 200 * DEPTH - at.ego_T_cam[0, :, 1, 3, None, None]
        y = ((v - 64) / 200 * DEPTH)[:, None]
        paper = (7.1 * x + 3.3 * y).sin() + (11.3 * x - 8.7 * y).sin() + (4.9 * y + 2.1 * x).cos()
        images = paper[None, :, None].expand(-1, -1, 3, -1, -1)
        alike = torch.ones(1, at.num_cameras, 12, *CELLS)
        return View(images, alike, at, at, past)

    given = papered(cameras(), (papered(cameras(sideways=1.0)),))
    blind = TriangulationPrior(12, STRIDE, channels=4, moving_radius=0)
    errors = [
        (1 / found(given).inverse_depth.mean - DEPTH).abs().median() / DEPTH
        for found in (made, blind)
    ]
    assert errors[0] < 0.01
    assert errors[1] > 0.2


def test_it_is_silent_when_the_vehicle_stands():
    made = prior()
    found = made(view(cameras(), (view(cameras()),)))
    assert (found.trust == 0).all()
    log = made.log_bins(found, BINS, CELLS)
    assert (log == 0).all()


def test_it_says_nothing_without_a_source():
    made = prior()
    nothing = made(view(cameras()))
    assert nothing is None and made.log_bins(nothing, BINS, CELLS) is None
    assert made.loss(nothing, torch.ones(1, 1, 128, 256), cameras()) == {}


def test_a_camera_that_is_out_is_not_looked_at():
    moved = cameras(sideways=1.0)
    out = replace(moved, mask=torch.tensor([[False]]))
    made = prior()
    assert (made(view(cameras(), (view(out),))).trust == 0).all()
    own = replace(cameras(), mask=torch.tensor([[False]]))
    assert (made(view(own, (view(moved),))).trust == 0).all()


def test_the_ground_cue_of_the_newest_moment_is_left_out():
    past = view(cameras(sideways=1.0))
    given = view(cameras(), (past,))
    cue = torch.randn(1, 1, 1, *CELLS)
    with_cue = View(
        given.images, torch.cat([given.features, cue], 2), given.cameras, given.key, (past,)
    )
    made = TriangulationPrior(13, STRIDE, channels=12)
    torch.testing.assert_close(made(with_cue).inverse_depth.mean, made(given).inverse_depth.mean)


def test_its_loss_is_small_where_it_is_right_and_teaches():
    made = prior()
    found = made(view(cameras(), (view(cameras(sideways=1.0)),)))
    right = made.loss(found, torch.full((1, 1, 128, 256), DEPTH), cameras())["point"]
    wrong = made.loss(found, torch.full((1, 1, 128, 256), 3 * DEPTH), cameras())["point"]
    assert right < 0.3 * wrong
    wrong.backward()
    assert made.descriptor.weight.grad.isfinite().all()
    assert made.descriptor.weight.grad.abs().max() > 0


def test_its_matches_are_taught_where_they_are_wrong():
    made = prior()
    found = made(view(cameras(), (view(cameras(sideways=1.0)),)))
    right = made.loss(found, torch.full((1, 1, 128, 256), DEPTH), cameras())["match"]
    wrong = made.loss(found, torch.full((1, 1, 128, 256), 3 * DEPTH), cameras())["match"]
    unknown = made.loss(found, torch.zeros(1, 1, 128, 256), cameras())["match"]
    assert right < 0.3 * wrong and unknown == 0


def moved_wall(up: float = 0.0, left: float = 0.0) -> torch.Tensor:
    """Features of a past camera 1 m to the left, in which the wall itself stood elsewhere."""
    u, v = cell_centres(CELLS, STRIDE)
    x = ((u - 128) / 200 * DEPTH - 1.0 + left).expand(1, *CELLS)[:, None]
    y = ((v - 64) / 200 * DEPTH + up)[:, None].expand(*CELLS)
    waves = torch.tensor([0.9, 1.7, 2.9, 4.1])[:, None, None]
    parts = [(waves * x).sin(), (waves * x).cos(), (waves * y).sin()[None]]
    return torch.cat(parts, dim=1)[None]


def median_trust(made: TriangulationPrior, given: View) -> float:
    # Cells of the middle: those at the sides see past the search.
    return made(given).trust.unflatten(-1, CELLS)[0, 0, 4:12, 8:24].median().item()


def test_a_wall_that_moved_across_the_line_is_not_trusted():
    """The flow against the rigid flow: 0.96 m up is 24 pixels, three cells beside the line."""
    past = view(cameras(sideways=1.0))
    lifted = replace(past, features=moved_wall(up=0.96))
    with_check, without = prior(), prior()
    without.moving_radius = 0
    assert median_trust(with_check, view(cameras(), (past,))) > 0.5
    assert median_trust(without, view(cameras(), (lifted,))) > 0.3
    assert median_trust(with_check, view(cameras(), (lifted,))) < 0.05


def test_a_wall_that_moved_along_the_line_is_not_trusted_where_sources_disagree():
    """In one past frame it looks twice as near; the older frame, where it stood, says otherwise."""
    past = view(cameras(sideways=1.0))
    other = view(cameras(sideways=-1.0))
    shifted = replace(past, features=moved_wall(left=-1.0))
    made = prior()
    assert median_trust(made, view(cameras(), (past, other))) > 0.5
    assert median_trust(made, view(cameras(), (shifted, other))) < 0.1


def test_how_wrong_a_cell_is_is_learnt_and_then_put_right():
    """Labels say twice the depth of the matches: the depth moves there, and is sure of it."""
    made = prior()
    given = view(cameras(), (view(cameras(sideways=1.0)),))
    labels = torch.full((1, 1, CELLS[0] * STRIDE, CELLS[1] * STRIDE), 2 * DEPTH)
    optimizer = torch.optim.Adam([*made.error.parameters(), *made.shown.parameters()], 0.01)

    def error(found):
        told = found.trust > 0.5
        return (found.depth[told] / (2 * DEPTH) - 1).abs().median()

    before = made(given)
    for _ in range(100):
        loss = made.loss(made(given), labels, cameras())["trust"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = made(given)
    assert error(before) > 0.4 and error(after) < 0.05
    assert after.sigma[after.trust > 0.5].median() < 0.1


def test_a_cell_that_may_be_wrong_says_little():
    made = prior()
    found = made(view(cameras(), (view(cameras(sideways=1.0)),)))
    sure, unsure = (
        made.log_bins(found._replace(sigma=torch.full_like(found.sigma, sigma)), BINS, CELLS)
        for sigma in (0.05, 20.0)
    )
    spread = [(log.amax(2) - log.amin(2)).median() for log in (sure, unsure)]
    assert spread[0] > 2 and spread[1] < 0.1


def test_a_match_beyond_doubt_leaves_every_bin_a_weight():
    made = prior()
    found = made(view(cameras(), (view(cameras(sideways=1.0)),)))
    certain = found._replace(
        trust=torch.ones_like(found.trust), sigma=torch.full_like(found.sigma, 1e-3)
    )
    log = made.log_bins(certain, BINS, CELLS)
    assert log.isfinite().all() and log.min() > -5
    log.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in made.parameters())


def test_half_precision_changes_no_segment_of_the_prior():
    made = prior()
    given = view(cameras(), (view(cameras(sideways=1.0)),))
    exact = made(given)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = made(given)
    counts = (exact.trust > 0.5) & (rounded.trust > 0.5)
    assert counts.sum() > 200
    # Descriptors of 8 bits move a match by a tenth of a pixel; rounded poses would by many.
    ratio = rounded.inverse_depth.mean[counts] / exact.inverse_depth.mean[counts]
    assert (ratio - 1).abs().median() < 0.01
