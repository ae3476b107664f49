from __future__ import annotations

import pytest
import torch

from bevdepth_plus.losses import (
    VirtualNormalLoss,
    sample_triplets,
    virtual_normal_loss,
    virtual_triplets,
)

TRIPLET = torch.tensor([[[[1, 2], [10, 3], [4, 14]]]])  # (y, x)


def camera(fx: float, fy: float, cx: float, cy: float) -> torch.Tensor:
    return torch.tensor([[[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]])


def bumpy(seed: int, batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 5 + 10 * torch.rand(batch, 1, 12, 16, generator=generator)


def by_hand(pred, target, fx, fy, cx, cy):
    """The term of TRIPLET, with the pinhole formula written out, float64."""
    normals = []
    for depth in (pred, target):
        corners = []
        for y, x in TRIPLET[0, 0].tolist():
            z = depth[0, 0, y, x].double()
            corners.append(torch.stack([(x - cx) / fx * z, (y - cy) / fy * z, z]))
        normal = torch.linalg.cross(corners[1] - corners[0], corners[2] - corners[0])
        normals.append(normal / normal.norm())
    return (normals[0] - normals[1]).abs().sum().float()


@pytest.fixture(scope="module")
def golden(shared_dir):
    return torch.load(shared_dir / "golden" / "metric3d_losses.pth", weights_only=True)


@pytest.mark.parametrize(("drop", "expected"), [(0.25, "vnl_drop25"), (0.0, "vnl_all")])
def test_it_agrees_with_metric3d(golden, drop, expected):
    inputs = [golden[key] for key in ("pred", "target", "mask", "intrinsics", "triplets_yx")]
    loss = virtual_normal_loss(*inputs, drop_smallest=drop, pixel_centre=0.0)
    torch.testing.assert_close(loss, golden[expected], atol=1e-4, rtol=0)


def test_it_keeps_the_triplets_that_metric3d_keeps(golden):
    inputs = [golden[key] for key in ("target", "mask", "intrinsics", "triplets_yx")]
    assert torch.equal(virtual_triplets(*inputs, pixel_centre=0.0), golden["valid"])


def test_fy_is_used_for_y():
    pred, target = bumpy(0), bumpy(1)
    intrinsics = camera(20.0, 35.0, 8.0, 6.0)
    loss = virtual_normal_loss(
        pred, target, target > 0, intrinsics, TRIPLET, max_cos=1.0, pixel_centre=0.0
    )
    torch.testing.assert_close(loss, by_hand(pred, target, 20.0, 35.0, 8.0, 6.0))


def test_the_principal_point_of_an_earlier_call_is_not_kept():
    pred, target = bumpy(0), bumpy(1)
    loss = VirtualNormalLoss(max_cos=1.0, drop_smallest=0.0, sample_ratio=1.0)
    first, second = camera(20, 20, 8, 6), camera(20, 20, 0, 12)

    def value(module, intrinsics):
        generator = torch.Generator().manual_seed(0)
        return module(pred, target, target > 0, intrinsics, generator)

    before = value(loss, first)
    assert value(loss, second) != before
    assert value(loss, second) == value(VirtualNormalLoss(1.0, 1.0, 1.0, 0.005, 0.0), second)


def test_half_a_pixel_in_the_matrix_is_half_a_pixel_in_the_convention():
    pred, target = bumpy(0), bumpy(1)
    at_corner = virtual_normal_loss(
        pred, target, target > 0, camera(20, 20, 7.5, 5.5), TRIPLET, max_cos=1.0, pixel_centre=0.0
    )
    at_centre = virtual_normal_loss(
        pred, target, target > 0, camera(20, 20, 8, 6), TRIPLET, max_cos=1.0, pixel_centre=0.5
    )
    torch.testing.assert_close(at_corner, at_centre)


@pytest.mark.parametrize("option", [{"max_cos": 0.1}, {"min_distance": 100.0}])
def test_the_thresholds_given_to_the_class_are_obeyed(option):
    pred, target = bumpy(0), bumpy(1)
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    usual = VirtualNormalLoss()(pred, target, target > 0, camera(20, 20, 8, 6), generators[0])
    strict = VirtualNormalLoss(**option)(
        pred, target, target > 0, camera(20, 20, 8, 6), generators[1]
    )
    assert usual > 0
    assert strict == 0  # nothing is left


def test_a_predicted_depth_of_zero_moves_its_own_point_only():
    # Half the bug is the value, half the axis: the limit of small depths says what is right.
    pred, target = bumpy(0), bumpy(1)
    intrinsics = camera(20, 20, 8, 6)
    losses = []
    for depth in (0.0, 1e-6):
        pred[0, 0, 10, 3] = depth
        leaf = pred.clone().requires_grad_()
        loss = virtual_normal_loss(
            leaf, target, target > 0, intrinsics, TRIPLET, max_cos=1.0, pixel_centre=0.0
        )
        loss.backward()
        assert leaf.grad.isfinite().all()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[0], by_hand(pred, target, 20, 20, 8, 6))


def test_a_prediction_collapsed_to_a_point_gives_a_finite_gradient():
    pred = torch.zeros(1, 1, 12, 16, requires_grad=True)
    target = bumpy(1)
    virtual_normal_loss(
        pred, target, target > 0, camera(20, 20, 8, 6), TRIPLET, max_cos=1.0
    ).backward()
    assert pred.grad.isfinite().all()


def test_a_triplet_along_rows_and_columns_of_a_facing_wall_counts():
    wall = torch.full((1, 1, 12, 16), 8.0)
    corner = torch.tensor([[[[2, 2], [2, 12], [9, 2]]]])
    assert virtual_triplets(wall, wall > 0, camera(20, 20, 8, 6), corner).all()


@pytest.mark.parametrize(
    "corners",
    [[[2, 2], [2, 8], [2, 14]], [[2, 2], [2, 2], [9, 2]], [[0, 0], [0, 0], [0, 0]]],
)
def test_triplets_on_a_line_or_with_equal_corners_do_not_count(corners):
    wall = torch.full((1, 1, 12, 16), 8.0)
    triplets = torch.tensor([[corners]])
    assert not virtual_triplets(
        wall, wall > 0, camera(20, 20, 8, 6), triplets, min_distance=0.0
    ).any()


def test_the_smallest_quarter_of_the_terms_is_dropped():
    pred, target = bumpy(0), bumpy(1)
    triplets = sample_triplets(target > 0, 40, torch.Generator().manual_seed(3))
    intrinsics = camera(20, 20, 8, 6)
    kept = virtual_triplets(target, target > 0, intrinsics, triplets)
    terms = torch.stack(
        [
            virtual_normal_loss(pred, target, target > 0, intrinsics, triplets[:, t : t + 1])
            for t in torch.nonzero(kept[0]).flatten()
        ]
    )
    expected = terms.sort().values[len(terms) // 4 :].mean()
    loss = virtual_normal_loss(pred, target, target > 0, intrinsics, triplets)
    torch.testing.assert_close(loss, expected)


def test_drawn_triplets_are_valid_pixels_and_no_more_of_them_than_there_are_pixels():
    valid = torch.rand(2, 1, 12, 16, generator=torch.Generator().manual_seed(0)) > 0.5
    valid[:, :, 0, 0] = False
    valid[1] = False
    valid[1, 0, 5, 6:9] = True
    triplets = sample_triplets(valid, 50, torch.Generator().manual_seed(1))
    drawn = [t[(t != 0).any(-1).any(-1)] for t in triplets]
    assert [len(d) for d in drawn] == [50, 3]
    for image, pixels in zip(valid[:, 0], drawn, strict=True):
        assert image[pixels[..., 0], pixels[..., 1]].all()
    assert len(drawn[0].flatten(0, 1).unique(dim=0)) > 50


def test_pixels_of_a_wrong_shape_are_an_error():
    depth = bumpy(0)
    with pytest.raises(ValueError, match=r"integers \[1, T, 3, 2\]"):
        virtual_normal_loss(depth, depth, depth > 0, camera(20, 20, 8, 6), TRIPLET[0])
