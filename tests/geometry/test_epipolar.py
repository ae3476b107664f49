from __future__ import annotations

import pytest
import torch

from bevdepth_plus.geometry.epipolar import epipolar_segments, pixel_lines, sample_segments
from bevdepth_plus.geometry.pinhole import in_image, project, unproject
from bevdepth_plus.geometry.rigid import transform_points

SIZE = (240, 320)
RANGE = (1 / 10, 1 / 0.5)  # 10 m to 0.5 m


def intrinsics(focal: float = 280.0, views: int = 0) -> torch.Tensor:
    matrix = torch.tensor([[focal, 0, 160.0], [0, focal, 120.0], [0, 0, 1]], dtype=torch.float64)
    return matrix.expand(1, views, 3, 3) if views else matrix[None]


def pose(translation=(0.0, 0.0, 0.0), yaw: float = 0.0) -> torch.Tensor:
    """source_T_anchor, [1, 1, 4, 4]: turned about the camera's y axis, then moved."""
    cos, sin = torch.tensor(yaw).cos().item(), torch.tensor(yaw).sin().item()
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    matrix[:3, 3] = torch.tensor(translation)
    return matrix[None, None]


def random_pixels(num: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    share = torch.rand(1, num, 2, generator=generator, dtype=torch.float64)
    return share * torch.tensor([SIZE[1], SIZE[0]])


def seen_at(pixels, depth, source_T_anchor, source_intrinsics=None):
    """Pixels and depth in the source of anchor pixels at a depth, by the project's projection."""
    points = transform_points(source_T_anchor[:, 0], unproject(pixels, depth, intrinsics()))
    matrix = intrinsics() if source_intrinsics is None else source_intrinsics[:, 0]
    return project(points, matrix)


def segments(pixels, source_T_anchor, inverse_depth_range=RANGE, source_intrinsics=None):
    matrix = intrinsics(views=1) if source_intrinsics is None else source_intrinsics
    return epipolar_segments(
        pixels, intrinsics(), matrix, source_T_anchor, SIZE, inverse_depth_range
    )


MOTIONS = {
    "sideways": pose((-0.12, 0.01, 0.02)),
    "forward": pose((0.02, 0.01, -0.4)),
    "backward": pose((0.1, 0.0, 0.6)),
    "turned": pose((-0.3, 0.0, -0.2), yaw=0.4),
    "turned far": pose((-0.9, 0.0, 0.2), yaw=0.9),
}


@pytest.mark.parametrize("name", MOTIONS)
def test_the_ends_are_where_their_depths_project(name):
    pixels = random_pixels(60)
    found = segments(pixels, MOTIONS[name])
    for index, ends in enumerate((found.start, found.end)):
        expected, depth = seen_at(pixels, 1 / found.inverse_depth[:, 0, :, index], MOTIONS[name])
        visible = found.visible[:, 0]
        torch.testing.assert_close(ends[:, 0][visible], expected[visible], rtol=0, atol=1e-8)
        assert (depth[visible] > 0).all()
    assert found.visible.any()


@pytest.mark.parametrize("name", MOTIONS)
def test_a_depth_is_on_the_segment_exactly_if_it_is_seen(name):
    """Clipped, not dropped: every depth in the image and before the camera, and no other."""
    pixels = random_pixels(200)
    found = segments(pixels, MOTIONS[name])
    for inverse_depth in torch.linspace(*RANGE, 41, dtype=torch.float64)[1:-1]:
        depth = torch.full(pixels.shape[:2], 1 / inverse_depth.item(), dtype=torch.float64)
        where, source_depth = seen_at(pixels, depth, MOTIONS[name])
        seen = in_image(where, SIZE) & (source_depth > 0.01)
        low, high = found.inverse_depth[:, 0].unbind(-1)
        on_segment = found.visible[:, 0] & (low <= inverse_depth) & (inverse_depth <= high)
        assert torch.equal(on_segment, seen)


def test_a_neighbouring_camera_keeps_points_of_which_a_part_is_seen():
    """Public bug 3: with both ends asked for, not one point of a 55 degree neighbour is left."""
    neighbour = pose((0.5, 0.0, 0.3), yaw=-0.96)
    pixels = random_pixels(200)
    found = segments(pixels, neighbour, (1 / 60, 1.0))
    ends = [
        seen_at(pixels, torch.full((1, 200), depth, dtype=torch.float64), neighbour)
        for depth in (1.0, 60.0)
    ]
    both = torch.stack([in_image(p, SIZE) & (z > 0) for p, z in ends]).all(0)
    assert found.visible.sum() > both.sum() + 10


def test_no_part_behind_the_source_camera_is_on_a_segment():
    """Public bug 4: driving 5 m forward, near ends lie behind the source camera."""
    forward = pose((0.0, 0.0, -5.0))
    pixels = random_pixels(100)
    found = segments(pixels, forward, (1 / 60, 1 / 2))
    nearest = 1 / found.inverse_depth[..., 1][found.visible]
    assert (nearest > 5).all()
    assert found.visible.any() and found.start.isfinite().all()


@pytest.mark.parametrize("name", MOTIONS)
def test_samples_lie_where_their_inverse_depth_projects(name):
    pixels = random_pixels(40)
    found = segments(pixels, MOTIONS[name])
    where, inverse_depth = sample_segments(found, 17)
    for index in range(17):
        expected, _ = seen_at(pixels, 1 / inverse_depth[:, 0, :, index], MOTIONS[name])
        visible = found.visible[:, 0]
        got = where[:, 0, :, 0, index]
        torch.testing.assert_close(got[visible], expected[visible], rtol=0, atol=1e-7)


def test_samples_are_equally_far_apart_and_rows_one_pixel():
    found = segments(random_pixels(40), MOTIONS["turned"])
    where, _ = sample_segments(found, 9, across=(-1.0, 0.0, 1.0))
    steps = where.diff(dim=-2).norm(dim=-1)  # [1, 1, 40, 3, 8]
    expected = (found.length / 8)[..., None, None].expand_as(steps)
    torch.testing.assert_close(steps, expected)
    rows = where.diff(dim=-3).norm(dim=-1)
    torch.testing.assert_close(rows, torch.ones_like(rows))


def test_every_view_has_intrinsics_of_its_own():
    pixels = random_pixels(30)
    matrices = torch.stack([intrinsics(280.0)[0], intrinsics(200.0)[0]])[None]
    poses = torch.cat([MOTIONS["sideways"], MOTIONS["forward"]], dim=1)
    both = epipolar_segments(pixels, intrinsics(), matrices, poses, SIZE, RANGE)
    for view in range(2):
        alone = segments(
            pixels, poses[:, view : view + 1], source_intrinsics=matrices[:, view : view + 1]
        )
        assert torch.equal(both.start[:, view], alone.start[:, 0])
        assert torch.equal(both.visible[:, view], alone.visible[:, 0])


def test_standing_still_gives_segments_without_length():
    """Public bug 5: the length in pixels is what tells, also with a little noise in the pose."""
    pixels = random_pixels(50)
    for motion in (pose(), pose(yaw=0.02), pose((1e-4, 0.0, 0.0))):
        found = segments(pixels, motion)
        assert (found.length < 0.06).all()
        assert found.start.isfinite().all() and found.visible.any()


def test_infinity_and_beyond_are_part_of_a_line():
    pixels = random_pixels(20)
    found = segments(pixels, MOTIONS["sideways"], (-0.1, 2.0))
    at_infinity = pixel_lines(pixels, intrinsics(), intrinsics(views=1), MOTIONS["sideways"])
    homogeneous = at_infinity.at(torch.zeros(1, 1, 20, dtype=torch.float64))
    infinity = homogeneous[..., :2] / homogeneous[..., 2:]
    share = ((infinity - found.start) * (found.end - found.start)).sum(-1) / found.length.square()
    whole = found.inverse_depth[..., 0] < -0.099
    assert whole.any() and (share[whole] > 0).all() and (share[whole] < 0.2).all()


def test_a_lost_pose_makes_its_view_invisible_and_leaves_gradients_finite():
    pixels = random_pixels(10).requires_grad_()
    lost = torch.full((1, 1, 4, 4), -torch.inf, dtype=torch.float64)
    poses = torch.cat([MOTIONS["sideways"], lost, lost.clone().fill_(torch.nan)], dim=1)
    found = epipolar_segments(pixels, intrinsics(), intrinsics(views=3), poses, SIZE, RANGE)
    assert found.visible[:, 0].any() and not found.visible[:, 1:].any()
    (found.start.sum() + found.end.sum() + found.length.sum()).backward()
    assert pixels.grad.isfinite().all() and found.start.isfinite().all()


def test_gradients_of_the_ends_are_right():
    pixels = random_pixels(6).requires_grad_()
    motion = MOTIONS["turned"].clone().requires_grad_()

    def ends(pixels, motion):
        found = segments(pixels, motion)
        return found.start, found.end, found.length

    assert torch.autograd.gradcheck(ends, (pixels, motion))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(pixels=torch.zeros(1, 5, 3)), r"pixels must be \[B, P, 2\], got \(1, 5, 3\)"),
        (dict(source_T_anchor=torch.eye(4)), r"source_T_anchor must be \[1, V, 4, 4\]"),
        (dict(source_T_anchor=torch.zeros(1, 0, 4, 4)), "at least one source view, got none"),
        (dict(intrinsics=torch.eye(3)), r"intrinsics must be \[1, 3, 3\], got \(3, 3\)"),
        (dict(source_intrinsics=torch.eye(3)), r"source_intrinsics must be \[1, 1, 3, 3\]"),
        (dict(inverse_depth_range=(2.0, 0.1)), "far < near in 1/m"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = dict(
        pixels=random_pixels(5),
        intrinsics=intrinsics(),
        source_intrinsics=intrinsics(views=1),
        source_T_anchor=pose(),
        size=SIZE,
        inverse_depth_range=RANGE,
    )
    with pytest.raises(ValueError, match=message):
        epipolar_segments(**{**arguments, **change})
