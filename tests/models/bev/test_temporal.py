from __future__ import annotations

import pytest
import torch
from torch import nn

from bevdepth_plus.models.bev.temporal import ConcatFusion, TemporalEncoder


class Scale(nn.Module):
    """An encoder that multiplies; as a config it is a module that was built already."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.in_channels = self.out_channels = in_channels
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, bev: torch.Tensor) -> torch.Tensor:
        assert bev.shape[1] == self.in_channels
        return self.weight * bev


@pytest.fixture(autouse=True)
def register():
    from mmdet3d.registry import MODELS

    MODELS.register_module(module=Scale, force=True)
    yield
    MODELS.module_dict.pop("Scale")


def encoder(**options) -> TemporalEncoder:
    return TemporalEncoder(in_channels=3, encoder=dict(type="Scale"), **options)


TWO = dict(num_frames=2, fusion=dict(type="ConcatFusion"))


def maps(count: int) -> list[torch.Tensor]:
    return [torch.full((1, 3, 4, 5), float(age + 1), requires_grad=True) for age in range(count)]


def test_concatenation_keeps_the_newest_map_first():
    ages = [torch.full((1, 2, 3, 4), float(age)) for age in range(3)]
    assert ConcatFusion()(ages)[0, :, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_one_frame_is_encoded_as_it_is():
    assert encoder()(maps(1))[0, :, 0, 0].tolist() == [2, 2, 2]


@pytest.mark.parametrize("fuse_encoded", [False, True])
def test_both_orders_hand_all_moments_on(fuse_encoded):
    found = encoder(**TWO, fuse_encoded=fuse_encoded)(maps(2))
    assert found[0, :, 0, 0].tolist() == [2, 2, 2, 4, 4, 4]


@pytest.mark.parametrize(("past_gradient", "expected"), [(False, 0.0), (True, 2.0)])
def test_encoded_past_maps_have_a_gradient_only_if_asked_for(past_gradient, expected):
    now, then = maps(2)
    temporal = encoder(**TWO, fuse_encoded=True, past_gradient=past_gradient)
    temporal([now, then]).sum().backward()
    assert now.grad.unique().tolist() == [2.0]
    assert (0.0 if then.grad is None else then.grad.unique().item()) == expected


def test_several_frames_need_a_fusion():
    with pytest.raises(ValueError, match="num_frames=2 and fusion=None contradict"):
        encoder(num_frames=2)


def test_another_number_of_maps_is_refused():
    with pytest.raises(ValueError, match="expected 2 BEV maps, newest first, got 3"):
        encoder(**TWO)(maps(3))
