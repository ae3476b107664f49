"""A step of the whole detector: nowhere do a GPU and its host have to wait for each other."""

from __future__ import annotations

import pytest
import torch
from mmdet3d.registry import MODELS


@pytest.mark.parametrize("motion", [False, True])
def test_a_training_step_reads_no_value_back_to_the_host(
    small_config, make_batch, host_waits, motion
):
    config = small_config(1 if motion else 2)
    if motion:
        config["temporal"].update(num_frames=2, fusion=dict(type="ConcatFusion"), fuse_encoded=True)
        config["heads"]["boxes"].update(
            type="MotionCenterHead", num_frames=2, motion_channels=8, dilations=(1, 2)
        )
    model = MODELS.build(config).train()
    batch = model.data_preprocessor(make_batch(batch=2, cameras=2, frames=2), training=True)
    with host_waits() as waits:
        losses = model(**batch, mode="loss")
        sum(losses.values()).backward()
    # The five arrays of the cameras go to the device, without waiting.
    assert waits.found == ["lift_fresh"] * 5


@pytest.mark.parametrize(
    "wait",
    [
        lambda values: values[values > 0],
        lambda values: values.sum().item(),
        lambda values: bool(values.any()),
        lambda values: values.new_tensor([1.0, 2.0]),
        lambda values: values.nonzero(),
        lambda values: values[[0, 1]],
    ],
)
def test_a_wait_is_counted(host_waits, wait):
    with host_waits() as waits:
        wait(torch.ones(3))
    assert waits.found
