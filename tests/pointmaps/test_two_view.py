from __future__ import annotations

import pytest
import torch

from bevdepth_plus.pointmaps import rope
from bevdepth_plus.pointmaps.heads import DPTHead, activate
from bevdepth_plus.pointmaps.two_view import TwoViewConfig


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@torch.no_grad()
def test_any_multiple_of_16_gives_a_point_a_pixel(small_model):
    for size in ((16, 16), (32, 80), (112, 48)):
        one, two = small_model(images(1, 3, *size), images(1, 3, 48, 32))
        assert one.points.shape == (1, *size, 3)
        assert two.points.shape == (1, 48, 32, 3)
        assert two.descriptors.shape == (1, 48, 32, 6)


@torch.no_grad()
def test_a_portrait_image_stored_transposed_gives_the_transposed_pointmap(small_model):
    landscape, portrait = images(1, 3, 32, 64), images(1, 3, 64, 32, seed=1)
    batch = torch.cat([landscape, portrait.mT])
    other = images(2, 3, 32, 64, seed=2)
    one, two = small_model(batch, other, torch.tensor([False, True]))
    upright_one, upright_two = small_model(portrait, other[1:])
    torch.testing.assert_close(one.points[1], upright_one.points[0].transpose(0, 1))
    torch.testing.assert_close(one.confidence[1], upright_one.confidence[0].T)
    torch.testing.assert_close(two.points[1], upright_two.points[0])


@torch.no_grad()
def test_symmetrised_pairs_are_encoded_once_and_give_the_same(small_model):
    a, b = images(2, 3, 32, 48), images(2, 3, 32, 48, seed=1)
    first = torch.stack([a, b], dim=1).flatten(0, 1)
    second = torch.stack([b, a], dim=1).flatten(0, 1)
    encoded = []
    handle = small_model.encoder.register_forward_hook(lambda m, i, o: encoded.append(len(i[0])))
    once = small_model(first, second, symmetrised=True)
    handle.remove()
    assert encoded == [4]
    for ours, plain in zip(once, small_model(first, second), strict=True):
        torch.testing.assert_close(ours.points, plain.points)


def test_pairs_that_are_not_symmetrised_are_refused(small_model):
    with pytest.raises(ValueError, match=r"needs the pairs \(a, b\), \(b, a\)"):
        small_model(images(2, 3, 16, 16), images(2, 3, 16, 16, seed=1), symmetrised=True)


@torch.no_grad()
def test_both_orders_of_a_pair_are_those_of_two_calls(small_model):
    a, b = images(1, 3, 32, 48), images(1, 3, 48, 32, seed=1)
    of1_in1, of2_in1, of2_in2, of1_in2 = small_model.symmetric(a, b)
    for ours, plain in zip((of1_in1, of2_in1), small_model(a, b), strict=True):
        torch.testing.assert_close(ours.points, plain.points)
    for ours, plain in zip((of2_in2, of1_in2), small_model(b, a), strict=True):
        torch.testing.assert_close(ours.points, plain.points)


def test_gradients_reach_every_parameter_in_training(small_model):
    one, two = small_model(images(1, 3, 32, 32), images(1, 3, 32, 32, seed=1))
    total = sum(
        p.points.sum() + p.descriptors.sum() + p.descriptor_confidence.sum() + p.confidence.sum()
        for p in (one, two)
    )
    grads = torch.autograd.grad(total, list(small_model.parameters()), allow_unused=True)
    without = [
        n for (n, _), g in zip(small_model.named_parameters(), grads, strict=True) if g is None
    ]
    assert without == []


@pytest.mark.parametrize("size", [(32, 40), (0, 16), (15, 16)])
def test_a_size_that_is_no_multiple_of_16_is_named(small_model, size):
    with pytest.raises(ValueError, match=f"multiples of 16, got {size[0]} x {size[1]}"):
        small_model(images(1, 3, 16, 16), images(1, 3, *size))


def test_batches_of_different_length_are_refused(small_model):
    with pytest.raises(ValueError, match="as many images of view 1 as of view 2: 1, 2"):
        small_model(images(1, 3, 16, 16), images(2, 3, 16, 16))


@torch.no_grad()
def test_heads_run_in_full_precision_under_autocast(small_model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        one, _ = small_model(images(1, 3, 32, 32), images(1, 3, 32, 32, seed=1))
    assert one.points.dtype == one.descriptors.dtype == torch.float32
    assert one.points.isfinite().all()


def test_rotated_dot_products_depend_on_the_distance_alone():
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64, generator=generator)

    def product(at: tuple[int, int], other: tuple[int, int]) -> torch.Tensor:
        turned = [
            rope.rotate(x, rope.rotation(torch.tensor([[position]]), 16))
            for x, position in ((query, at), (key, other))
        ]
        return (turned[0] * turned[1]).sum()

    # The angles are float32.
    pairs = product((3, 5), (1, 9)), product((13, 6), (11, 10))
    torch.testing.assert_close(*pairs, rtol=1e-5, atol=1e-5)
    assert not torch.isclose(product((3, 5), (1, 9)), product((3, 5), (2, 9)))
    assert not torch.isclose(product((3, 5), (1, 9)), product((3, 5), (1, 8)))


def test_a_zero_vector_is_a_point_at_the_origin_and_no_descriptor_is_nan():
    raw = torch.zeros(1, 4 + 6 + 1, 2, 2, requires_grad=True)
    pointmap = activate(raw)
    assert (pointmap.points == 0).all()
    assert pointmap.descriptors.isfinite().all()
    (pointmap.points.sum() + pointmap.descriptors.sum()).backward()
    assert raw.grad.isfinite().all()


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="more than 9 decoder layers, got 9"):
        DPTHead(8, 8, decoder_depth=9)
    with pytest.raises(ValueError, match="descriptors need the head 'dpt'"):
        TwoViewConfig(head="linear", descriptor_dim=24)
    with pytest.raises(ValueError, match="got 'mlp'"):
        TwoViewConfig(head="mlp")
