from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from bevdepth_plus.triangulation.encoder import PyramidEncoder
from bevdepth_plus.triangulation.keypoints import (
    InterestPointNetwork,
    score_map,
    select_keypoints,
    suppress_neighbours,
)


def scores(height: int = 64, width: int = 96, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, height, width, generator=torch.Generator().manual_seed(0))


def test_half_of_the_points_are_the_best_maxima_and_half_are_random():
    found = select_keypoints(scores(), 40, radius=4)
    assert (found.detected.sum(1) == 20).all() and found.detected[:, :20].all()
    assert (found.scores[:, :20].diff(dim=1) <= 0).all()
    maxima = suppress_neighbours(scores(), 4)[:, 4:-4, 4:-4].flatten(1)
    torch.testing.assert_close(found.scores[:, 0], maxima.amax(1))


def test_no_two_points_are_the_same_and_none_is_at_the_border():
    """Public bug 8: its random points meet each other, the detected ones and the border."""
    found = select_keypoints(scores(32, 32), 500, radius=1, border=4)
    for pixels in found.pixels:
        assert len(pixels.unique(dim=0)) == 500
        assert (pixels > 4).all() and (pixels < 28).all()
    assert (found.pixels % 1 == 0.5).all()


def test_a_seed_repeats_the_random_points():
    def draw(seed):
        return select_keypoints(scores(), 40, generator=torch.Generator().manual_seed(seed)).pixels

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))


def test_random_points_replace_maxima_below_the_threshold():
    low = scores() * 0.1
    low[:, 20, 30] = 0.9
    found = select_keypoints(low, 10, threshold=0.5)
    assert found.detected.tolist() == [[True] + [False] * 9] * 2
    assert found.pixels[0, 0].tolist() == [30.5, 20.5]


def test_neighbours_of_a_maximum_are_suppressed():
    kept = suppress_neighbours(scores(), 3)
    for image in kept > 0:
        rows, columns = image.nonzero().unbind(-1)
        apart = torch.maximum(
            (rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()
        ).fill_diagonal_(99)
        assert apart.min() > 3


def test_a_score_stands_at_its_own_pixel():
    logits = torch.zeros(1, 65, 4, 6)
    logits[0, 8 * 3 + 5, 2, 4] = 20.0  # row 3, column 5 of the block
    found = score_map(logits)[0]
    assert divmod(found.argmax().item(), 48) == (2 * 8 + 3, 4 * 8 + 5)


def test_too_many_points_for_the_image_is_named():
    with pytest.raises(ValueError, match="500 points do not fit an image of 24 x 24 pixels"):
        select_keypoints(scores(24, 24), 500)


@pytest.mark.parametrize("size", [(64, 96), (32, 160)])
def test_the_network_takes_any_multiple_of_32_and_its_descriptors_have_length_1(size):
    network = InterestPointNetwork(PyramidEncoder(18, base_channels=8), 16, 32).eval()
    found = network(torch.rand(2, 3, *size))
    cells = size[0] // 8, size[1] // 8
    assert found.logits.shape == (2, 65, *cells)
    assert found.descriptors.shape == (2, 16, *cells)
    length = found.descriptors.norm(dim=1)
    torch.testing.assert_close(length, torch.ones_like(length))
    assert [level.shape[-1] for level in found.levels] == [size[1] // s for s in (2, 4, 8, 16, 32)]
    assert [level.shape[1] for level in found.levels] == list(network.encoder.channels)


def test_the_fast_window_maximum_is_the_maximum_over_the_square():
    image = scores()
    whole = functional.max_pool2d(image[:, None], 19, stride=1, padding=9)[:, 0]
    peaks = image == whole
    assert (suppress_neighbours(image, 9)[peaks] == image[peaks]).all()


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_descriptors_come_at_the_stride_that_is_asked_for(stride):
    encoder = PyramidEncoder(18, base_channels=4)
    network = InterestPointNetwork(encoder, 8, 8, descriptor_stride=stride).eval()
    with torch.no_grad():
        found = network(torch.rand(1, 3, 64, 96))
    assert found.descriptors.shape == (1, 8, 64 // stride, 96 // stride)
    assert found.logits.shape == (1, 65, 8, 12)


def test_an_unknown_stride_is_refused():
    with pytest.raises(ValueError, match="descriptor_stride must be 2, 4 or 8"):
        InterestPointNetwork(PyramidEncoder(18, base_channels=4), 8, 8, descriptor_stride=3)
