from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from bevdepth_plus.geometry.boxes import transform_boxes
from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.models.bev.view_transform import LiftSplat
from bevdepth_plus.models.flip_average import (
    FlipAverage,
    every_flip,
    mirror_bev,
    mirror_images,
)
from bevdepth_plus.models.heads.center_maps import undo_mirror

GRID = dict(x=(-51.2, 51.2, 3.2), y=(-51.2, 51.2, 3.2), z=(-5.0, 3.0, 8.0))
AHEAD_ONLY = {**GRID, "x": (0.0, 102.4, 3.2)}
ALL = dict(image=True, x=True, y=True)
MIRRORS = [(True, False), (False, True), (True, True)]
# x, y, z, length, width, height, yaw, vx, vy; car, pedestrian, barrier
BOXES = torch.tensor(
    [
        [10.3, 4.1, 0.5, 4.2, 1.9, 1.6, 0.4, 3.0, 1.0],
        [-20.2, 17.7, 0.2, 0.6, 0.7, 1.8, 2.5, -1.0, 0.5],
        [31.9, -28.5, 0.0, 0.5, 2.5, 1.0, -1.2, 0.0, 0.0],
    ]
)
LABELS = torch.tensor([0, 7, 9])


@pytest.fixture
def rig(make_batch) -> CameraRig:
    (sample,) = make_batch(cameras=3)["data_samples"]
    return CameraRig.from_metainfo([sample.metainfo])


@pytest.fixture
def head(small_config):
    config = small_config()
    config["heads"]["boxes"]["test_cfg"]["post_max_size"] = 20
    return MODELS.build(config["heads"]["boxes"] | dict(grid=GRID))


def oracle_of(head):
    """A model that sees everything: head outputs that say exactly where the boxes are.

    It looks at nothing but the BEV frame, in which it finds the boxes moved.
    """

    def run(images: torch.Tensor, rig: CameraRig):
        boxes = LiDARInstance3DBoxes(
            transform_boxes(BOXES, rig.bev_aug[0]), box_dim=9, origin=(0.5, 0.5, 0.5)
        )
        truth = InstanceData(bboxes_3d=boxes, labels_3d=head.to_task[LABELS])
        outputs = []
        for heatmap, numbers, index, mask in zip(*head.get_targets([truth]), strict=True):
            maps = torch.zeros(1, 10, *heatmap.shape[-2:])
            where = index[mask.bool()]
            maps.flatten(2)[0, :, where] = numbers[mask.bool()].T
            parts = maps.split([2, 1, 3, 2, 2], dim=1)
            outputs.append(
                [
                    dict(
                        zip(("reg", "height", "dim", "rot", "vel"), parts, strict=True),
                        heatmap=heatmap.clamp(1e-4, 1 - 1e-4).logit(),
                    )
                ]
            )
        return dict(boxes=tuple(outputs))

    return run


def boxes_of(head, outputs) -> torch.Tensor:
    (found,) = head.predict_by_feat(outputs["boxes"], [dict(box_type_3d=LiDARInstance3DBoxes)])
    sure = found.scores_3d > 0.9
    numbers = torch.cat([found.bboxes_3d.gravity_center, found.bboxes_3d.tensor[:, 3:]], dim=1)
    return torch.cat([numbers, found.labels_3d[:, None]], dim=1)[sure]


@pytest.mark.parametrize(
    "flips", [dict(x=True), dict(y=True), dict(image=True), dict(x=True, y=True), ALL]
)
def test_an_oracles_boxes_are_the_same_with_mirrors(head, rig, flips):
    run, images = oracle_of(head), torch.zeros(1, 1, 3, 3, 64, 96)
    plain = run(images, rig)
    found = boxes_of(head, FlipAverage(GRID, **flips)(plain, dict(boxes=head), run, images, rig))
    torch.testing.assert_close(found, boxes_of(head, plain), atol=1e-4, rtol=1e-4)
    expected = torch.cat([BOXES, LABELS[:, None]], dim=1)
    torch.testing.assert_close(found, expected[found[:, -1].argsort().argsort()], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("x", "y"), MIRRORS)
def test_undoing_a_mirror_gives_the_unmirrored_maps(head, rig, x, y):
    run, images = oracle_of(head), torch.zeros(1, 1, 3, 3, 64, 96)
    plain, mirrored = run(images, rig)["boxes"], run(images, mirror_bev(rig, x, y))["boxes"]
    for (expected,), (maps,) in zip(plain, mirrored, strict=True):
        undone = undo_mirror(maps, x, y)
        at_box = expected["dim"].abs().sum(dim=1, keepdim=True) > 0
        for name, values in undone.items():
            where = torch.ones_like(values, dtype=torch.bool) if name == "heatmap" else at_box
            torch.testing.assert_close(
                values.where(where, torch.zeros(())), expected[name], atol=1e-5, rtol=1e-5
            )


@pytest.mark.parametrize(("x", "y"), MIRRORS)
def test_a_mirror_undone_twice_is_none(x, y):
    shapes = dict(heatmap=3, reg=2, height=1, dim=3, rot=2, vel=2)
    generator = torch.Generator().manual_seed(0)
    maps = {k: torch.rand(2, c, 4, 6, generator=generator) for k, c in shapes.items()}
    twice = undo_mirror(undo_mirror(maps, x, y), x, y)
    assert twice.keys() == maps.keys()
    for name in maps:
        torch.testing.assert_close(twice[name], maps[name])


def lifted(images: torch.Tensor, rig: CameraRig) -> torch.Tensor:
    """A BEV map of features that depend on what a cell shows alone, as a mirror asks for."""
    view = LiftSplat(
        GRID, dict(start=2.0, stop=34.0, step=2.0), image_size=images.shape[-2:], stride=8
    )
    cells = torch.nn.functional.avg_pool2d(images[0, 0], 8)[None]  # [1, N, 3, H, W]
    depth = (cells[:, :, :1] * torch.arange(16.0).view(16, 1, 1)).softmax(dim=2)
    return view(depth, cells, rig.moment(0))


def test_mirrored_images_lift_to_the_same_bev_map(rig):
    images = torch.rand(1, 1, 3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected = lifted(images, rig)
    assert expected.abs().sum() > 0
    torch.testing.assert_close(lifted(*mirror_images(images, rig)), expected)
    assert not torch.allclose(lifted(images.flip(-1), rig), expected)


@pytest.mark.parametrize(("x", "y"), MIRRORS)
def test_a_mirrored_bev_frame_mirrors_the_bev_map(rig, x, y):
    images = torch.rand(1, 1, 3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    axes = [axis for axis, flipped in ((-1, x), (-2, y)) if flipped]
    mirrored = lifted(images, mirror_bev(rig, x, y)).flip(axes)
    torch.testing.assert_close(mirrored, lifted(images, rig))


def test_mirrors_are_combined_and_none_costs_nothing(rig):
    calls = []

    def run(images, seen):
        calls.append((images[..., 0].sum().item(), tuple(seen.bev_aug[0].diag().tolist())))
        return {}

    images = torch.arange(6.0).expand(1, 1, 3, 3, 64, 6)
    assert FlipAverage(GRID)({}, {}, run, images, rig) == {}
    assert calls == []
    FlipAverage(GRID, **ALL)({}, {}, run, images, rig)
    assert len(set(calls)) == 7


def test_without_mirrors_the_outputs_are_those_of_the_model(head, rig):
    plain = oracle_of(head)(torch.zeros(1), rig)
    assert FlipAverage(GRID)(plain, dict(boxes=head), None, torch.zeros(1), rig) is plain


def test_opposite_scores_meet_in_the_middle(head, rig):
    def maps(logit: float) -> dict:
        shapes = dict(reg=2, height=1, dim=3, rot=2, vel=2)
        return {"heatmap": torch.full((1, 1, 4, 4), logit)} | {
            name: torch.zeros(1, channels, 4, 4) for name, channels in shapes.items()
        }

    plain, other = (dict(boxes=([maps(logit)],)) for logit in (math.log(9.0), -math.log(9.0)))
    average = FlipAverage(GRID, image=True)
    found = average(plain, dict(boxes=head), lambda images, rig: other, torch.zeros(1), rig)
    ((mean,),) = found["boxes"]
    torch.testing.assert_close(mean["heatmap"].sigmoid(), torch.full((1, 1, 4, 4), 0.5))


def test_a_grid_to_one_side_cannot_be_mirrored_along_it():
    assert every_flip(GRID) == ALL
    assert every_flip(AHEAD_ONLY) == dict(image=True, x=False, y=True)
    with pytest.raises(ValueError, match="mirroring x needs .* x from 0.0 to 102.4 m"):
        FlipAverage(AHEAD_ONLY, x=True)


def predictions(small_config, make_batch, flips) -> torch.Tensor:
    torch.manual_seed(0)
    model = MODELS.build(small_config(2) | dict(test_time_flips=flips))
    model.eval()
    with torch.no_grad():
        (sample,) = model.test_step(make_batch(cameras=2, frames=2))
    return sample.pred_instances_3d.bboxes_3d.tensor


def test_the_detector_averages_if_it_is_told_to(small_config, make_batch):
    plain, none, flipped = (
        predictions(small_config, make_batch, flips) for flips in (None, {}, ALL)
    )
    assert torch.equal(plain, none)
    assert plain.shape != flipped.shape or not np.allclose(plain, flipped)
