"""Steadiness of depth between frames of a rig that drives and turns past a wall."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.tables import temporal_depth_table
from bevdepth_plus.evaluation.temporal_depth import (
    TEMPORAL_METRIC_NAMES,
    TemporalDepthSums,
    depth_over_time,
)
from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.geometry.pinhole import pixel_centres, rays

SIZE, STRIDE = (24, 40), 4
NAMES = ["LEFT", "RIGHT"]
EVERY = [True, True, True]


def pose(x: float, yaw: float) -> torch.Tensor:
    cos, sin = math.cos(yaw), math.sin(yaw)
    return torch.tensor([[cos, -sin, 0, x], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def rig() -> CameraRig:
    """Three moments of two cameras that look ahead, slightly apart."""
    ahead = torch.tensor([[0.0, 0, 1, 1], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
    mounts = torch.stack([pose(0, 0.1) @ ahead, pose(0, -0.1) @ ahead])
    moments = torch.stack([pose(0, 0), pose(-2, 0.05), pose(-4, 0.1)])
    matrix = torch.tensor([[120.0, 0, 80], [0, 120.0, 48], [0, 0, 1]])
    return CameraRig(
        intrinsics=matrix.expand(1, 3, 2, 3, 3),
        ego_T_cam=(moments[:, None] @ mounts)[None],
        image_aug=torch.eye(3).expand(1, 3, 2, 3, 3),
        bev_aug=torch.eye(4)[None],
    )


def room(wall: float = 25.0) -> torch.Tensor:
    """True depth of a road and a wall across it, ``[S, N, H, W]``."""
    cameras, pixels = rig(), pixel_centres(SIZE, 1) * STRIDE
    maps = []
    for moment in range(3):
        for camera in range(2):
            directions = rays(pixels.flatten(0, 1), cameras.intrinsics[0, moment, camera])
            ego_T_cam = cameras.ego_T_cam[0, moment, camera]
            directions = directions @ ego_T_cam[:3, :3].T
            start = ego_T_cam[:3, 3]
            to_wall = (wall - start[0]) / directions[:, 0]
            to_road = -start[2] / directions[:, 2].clamp(max=-1e-6)
            maps.append(torch.minimum(to_wall, to_road).reshape(SIZE))
    return torch.stack(maps).reshape(3, 2, *SIZE)


def metrics_of(pred: torch.Tensor, target: torch.Tensor, **options) -> dict:
    over_time = depth_over_time(pred, target, rig(), EVERY, STRIDE, **options)
    sums = TemporalDepthSums()
    sums.update(over_time, target[0], NAMES)
    return sums.compute()


def test_true_depth_is_steady_although_the_rig_drives_and_turns():
    overall = metrics_of(room(), room())["overall"]
    assert overall["points"] > 800 and overall["pairs"] > 1000
    assert overall["order_agreement"] > 0.999
    assert overall["warped_rel"] < 0.01 and overall["flicker_rel"] < 0.005
    # Without the poses the same depth would seem to jump by the 2 m driven.
    assert (room()[0] - room()[1]).abs().mean() > 0.5 > 5 * overall["warped_diff"]


def test_a_frame_that_is_scaled_shows_as_difference_and_flicker_but_keeps_the_order():
    target = room()
    pred = target.clone()
    pred[1] *= 1.2
    overall = metrics_of(pred, target)["overall"]
    assert overall["order_agreement"] > 0.95
    # Neighbours differ by a fifth of the depth seen from two metres farther back.
    assert 0.2 < overall["warped_rel"] < 0.25
    # Of three values, one off by d: d * sqrt(2) / 3; of two: d / 2.
    assert 0.2 * 0.47 < overall["flicker_rel"] < 0.25 / 2


def test_reversed_order_in_one_frame_is_no_agreement():
    target = room()
    pred = target.clone()
    pred[1] = 40 - target[1]
    assert metrics_of(pred, target)["overall"]["order_agreement"] < 0.2


def test_constant_depth_tells_no_order():
    depths = np.full((2, 1, 4, 5), 7.0)
    target = np.linspace(5, 25, 20).reshape(1, 4, 5)
    sums = TemporalDepthSums()
    sums.update(depths, target, ["A"])
    overall = sums.compute()["overall"]
    assert overall["order_agreement"] == 0 and overall["pairs"] > 500
    assert overall["warped_diff"] == overall["flicker"] == 0


def test_numbers_of_three_frames_by_hand():
    over_time = np.array([[10.0, 20.0], [12.0, 11.0], [11.0, 0.0]]).reshape(3, 1, 1, 2)
    sums = TemporalDepthSums(num_pairs=50)
    sums.update(over_time, np.array([[[10.0, 20.0]]]), ["A"])
    overall = sums.compute()["overall"]
    assert overall["pixels"] == 3 and overall["points"] == 2
    assert overall["warped_diff"] == pytest.approx((2 + 1 + 9) / 3)
    assert overall["warped_rel"] == pytest.approx((0.2 + 0.1 + 9 / 20) / 3)
    deviations = np.std([10, 12, 11]), np.std([20, 11])
    assert overall["flicker"] == pytest.approx(np.mean(deviations))
    assert overall["flicker_rel"] == pytest.approx((deviations[0] / 10 + deviations[1] / 20) / 2)
    # Only the first two frames show both points, and they disagree.
    assert overall["order_agreement"] == 0 and 10 < overall["pairs"] < 50


def test_pairs_of_almost_equal_true_depth_do_not_count():
    depths = np.array([[10.0, 10.5], [10.5, 10.0]]).reshape(2, 1, 1, 2)
    for min_gap, expected in ((0.1, None), (0.01, 0.0)):
        sums = TemporalDepthSums(min_gap=min_gap)
        sums.update(depths, np.array([[[10.0, 10.5]]]), ["A"])
        assert sums.compute()["overall"]["order_agreement"] == expected


def test_what_is_hidden_or_moved_in_the_earlier_frame_does_not_count():
    target = room()
    pred, blocked = target.clone(), target.clone()
    blocked[1:, :, 8:16, 10:30] = 4.0  # a car stood before the wall
    pred[1:, :, 8:16, 10:30] = 4.0
    over_time = depth_over_time(pred, blocked, rig(), EVERY, STRIDE)
    hidden = over_time[1:] == 0
    assert hidden[:, :, 10:14, 15:25].all() and not hidden[0, 0, 18, 15:25].any()
    assert metrics_of(pred, blocked)["overall"]["warped_rel"] < 0.02


def test_movers_are_left_out_by_their_mask():
    static = torch.ones(2, *SIZE, dtype=torch.bool)
    static[:, :, 20:] = False
    over_time = depth_over_time(room(), room(), rig(), EVERY, STRIDE, static)
    assert (over_time[..., 20:] == 0).all() and (over_time[..., :20] > 0).any()


def test_a_first_frame_without_a_past_counts_nothing_but_would_seem_perfect():
    target = room()
    repeated = target[:1].expand_as(target)  # as the data set repeats the key frame
    still = replace(rig(), ego_T_cam=rig().ego_T_cam[:, :1].expand(1, 3, 2, 4, 4))
    seems = depth_over_time(repeated, repeated, still, EVERY, STRIDE)
    assert (seems[1:] > 0).all()
    over_time = depth_over_time(repeated, repeated, still, [True, False, False], STRIDE)
    sums = TemporalDepthSums()
    sums.update(over_time, target[0], NAMES)
    overall = sums.compute()["overall"]
    assert [overall[name] for name in ("pairs", "pixels", "points")] == [0, 0, 0]
    assert all(overall[name] is None for name in TEMPORAL_METRIC_NAMES)


def test_cameras_that_are_out_show_nothing():
    mask = torch.ones(1, 3, 2, dtype=torch.bool)
    mask[0, 0, 0] = mask[0, 2, 1] = False
    over_time = depth_over_time(room(), room(), replace(rig(), mask=mask), EVERY, STRIDE)
    assert (over_time[:, 0] == 0).all() and (over_time[2, 1] == 0).all()
    assert (over_time[:2, 1] > 0).any()


def test_unknown_true_depth_does_not_count_and_may_hold_anything():
    target = room()
    target[:, :, :6], target[:, :, 6:8] = 0.0, torch.nan
    pred = room()
    pred[:, :, :8] = torch.nan
    over_time = depth_over_time(pred, target, rig(), EVERY, STRIDE)
    assert over_time.isfinite().all() and (over_time[:, :, :8] == 0).all()


def test_a_prediction_that_is_not_finite_is_refused():
    pred = room()
    pred[1, 0, 12, 20] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        depth_over_time(pred, room(), rig(), EVERY, STRIDE)


def test_frames_of_unequal_size_are_one_clear_line():
    with pytest.raises(ValueError, match=r"must both be \[3, N, H, W\], got"):
        depth_over_time(room()[..., :-1], room(), rig(), EVERY, STRIDE)
    with pytest.raises(ValueError, match="over_time must be"):
        TemporalDepthSums().update(np.ones((2, 1, 3, 4)), np.ones((1, 3, 5)), ["A"])
    with pytest.raises(ValueError, match="1 camera names for 2 depth maps"):
        TemporalDepthSums().update(np.ones((2, 2, 3, 4)), np.ones((2, 3, 4)), ["A"])


def random_sample(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = rng.uniform(1, 70, (2, 8, 9)) * (rng.random((2, 8, 9)) < 0.8)
    noise = rng.uniform(0.7, 1.3, (3, 2, 8, 9)) * (rng.random((3, 2, 8, 9)) < 0.9)
    return target * noise, target


def test_merged_parts_equal_the_whole():
    whole, merged = TemporalDepthSums(), TemporalDepthSums()
    for seed in range(3):
        part = TemporalDepthSums()
        for sums in (part, whole):
            sums.update(*random_sample(seed), NAMES)
        merged.merge(part)
    whole, merged = whole.compute(), merged.compute()
    assert whole["overall"] == pytest.approx(merged["overall"])
    assert whole["by_range"]["10-20"] == pytest.approx(merged["by_range"]["10-20"])
    assert whole["by_camera"]["LEFT"] == pytest.approx(merged["by_camera"]["LEFT"])


def test_ranges_and_cameras_split_the_points():
    sums = TemporalDepthSums()
    sums.update(*random_sample(0), NAMES)
    report = sums.compute()
    for groups in (report["by_range"], report["by_camera"]):
        total = sum(group["pixels"] for group in groups.values())
        assert total == report["overall"]["pixels"] > 0
    depths, target = random_sample(0)
    near = TemporalDepthSums()
    near.update(depths, np.where(target < 10, target, 0), NAMES)
    assert report["by_range"]["0-10"] == pytest.approx(near.compute()["overall"])


def test_parts_with_other_options_do_not_merge():
    with pytest.raises(ValueError, match="ranges, num_pairs or min_gap differ"):
        TemporalDepthSums().merge(TemporalDepthSums(min_gap=0.2))


def test_the_report_is_valid_json_and_has_a_table():
    sums = TemporalDepthSums()
    sums.update(*random_sample(0), NAMES)
    report = json.loads(json.dumps(sums.compute(), allow_nan=False))
    table = temporal_depth_table("bin", report).splitlines()
    assert table[0].split()[:2] == ["bin", "depth"] and "flicker_rel" in table[0]
    assert [line.split()[0] for line in table if line[0].isalpha()][-2:] == NAMES
    assert temporal_depth_table("bin", TemporalDepthSums().compute()).count(" -") >= 5
