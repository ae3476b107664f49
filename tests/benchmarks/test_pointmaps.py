"""The plain references of the pointmap benchmark give what they are timed against."""

from __future__ import annotations

import pointmaps
import torch

from bevdepth_plus.pointmaps import blocks
from bevdepth_plus.pointmaps.matching import fast_reciprocal
from bevdepth_plus.pointmaps.two_view import TwoViewConfig, TwoViewModel


def test_plain_attention_gives_the_network_s_numbers(monkeypatch):
    monkeypatch.setattr(pointmaps, "SIZE", (32, 48))
    torch.manual_seed(0)
    sizes = dict(encoder_dim=32, encoder_depth=2, encoder_heads=2)
    sizes |= dict(decoder_dim=32, decoder_depth=2, decoder_heads=2, head="linear")
    model = TwoViewModel(TwoViewConfig(**sizes)).eval()
    images = torch.rand(2, 1, 3, 32, 48)
    fused = blocks.rotate
    with torch.no_grad():
        ours = model(*images)
        with pointmaps.plain_attention():
            assert blocks.rotate is not fused
            plain = model(*images)
    assert blocks.rotate is fused
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one.points, other.points, rtol=1e-4, atol=1e-6)


def test_plain_matching_finds_the_same_matches(monkeypatch):
    monkeypatch.setattr(pointmaps, "SIZE", (48, 64))
    monkeypatch.setattr(pointmaps, "BLOCK", 1000)  # several blocks
    torch.manual_seed(0)
    pair = pointmaps.descriptor_pair()
    ours = fast_reciprocal(*pair, pointmaps.SUBSAMPLE, pointmaps.MAX_STEPS)
    assert len(ours) > 20
    assert torch.equal(ours, pointmaps.plain_reciprocal(*pair))
