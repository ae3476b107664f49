from __future__ import annotations

import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData
from torch import nn

from bevdepth_plus.classes import CLASSES

MOTION = "heads.boxes.motion."


@pytest.fixture
def motion_config(small_config):
    """The small detector with a head that sees motion in two frames."""
    config = small_config()
    config["temporal"].update(num_frames=2, fusion=dict(type="ConcatFusion"), fuse_encoded=True)
    config["heads"]["boxes"].update(
        type="MotionCenterHead", num_frames=2, motion_channels=8, dilations=(1, 2, 4)
    )
    return config


@pytest.fixture
def one_frame(small_model):
    return small_model().eval()


@pytest.fixture
def moving(motion_config, one_frame):
    """The detector with two frames, begun with the weights of the one with one."""
    torch.manual_seed(0)
    model = MODELS.build(motion_config).eval()
    missing, unknown = model.load_state_dict(one_frame.state_dict(), strict=False)
    assert not unknown and all(name.startswith(MOTION) for name in missing)
    return model


def train_motion(model) -> None:
    for parameter in model.heads["boxes"].motion[-1].parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def outputs(model, data):
    return [task[0] for task in model(**model.data_preprocessor(data), mode="tensor")["boxes"]]


def key_frame_of(data):
    """The same batch without its past."""
    alone = dict(inputs={**data["inputs"]}, data_samples=[])
    alone["inputs"]["img"] = [img[: len(img) // 2] for img in data["inputs"]["img"]]
    for sample in data["data_samples"]:
        meta = {**sample.metainfo, "num_frames": 1}
        for name in ("intrinsics", "ego_T_cam", "image_aug", "camera_mask", "frame_mask"):
            if name in meta:
                meta[name] = meta[name][:1]
        alone["data_samples"].append(Det3DDataSample(metainfo=meta))
    return alone


def test_it_begins_as_the_one_frame_detector(moving, one_frame, make_batch):
    data = make_batch(cameras=2, frames=2)
    for found, expected in zip(
        outputs(moving, data), outputs(one_frame, key_frame_of(data)), strict=True
    ):
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5)


def test_the_past_changes_velocities_and_nothing_else(moving, make_batch):
    train_motion(moving)
    data, other = make_batch(frames=2), make_batch(frames=2)
    other["inputs"]["img"][0][1] = 255 - other["inputs"]["img"][0][1]
    for found, expected in zip(outputs(moving, data), outputs(moving, other), strict=True):
        same = {name for name, value in expected.items() if torch.equal(found[name], value)}
        assert same == set(expected) - {"vel"}


def test_it_sees_as_far_as_its_dilations(moving):
    train_motion(moving)
    head = moving.heads["boxes"]
    maps = torch.randn(1, 2 * head.shared_conv.out_channels, 24, 24, requires_grad=True)
    head.motion(maps)[0, :, 12, 12].sum().backward()
    rows, columns = maps.grad[0].abs().sum(0).nonzero().T
    assert (rows.min(), rows.max()) == (columns.min(), columns.max()) == (12 - 7, 12 + 7)


def test_motion_trains_alone_when_the_rest_is_frozen(motion_config, make_batch):
    torch.manual_seed(0)
    frozen = ["image_encoder", "depth", "temporal.encoder"]
    frozen += ["heads.boxes.shared_conv", "heads.boxes.task_heads"]
    model = MODELS.build({**motion_config, "frozen": frozen}).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = model.data_preprocessor(make_batch(batch=2, frames=2), training=True)
    losses = model(**batch, mode="loss")
    sum(losses.values()).backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed and all(name.startswith(MOTION) for name in changed)


def test_an_unknown_frozen_part_is_named(small_config):
    with pytest.raises(ValueError, match="frozen.*encodr"):
        MODELS.build({**small_config(), "frozen": ["temporal.encodr"]})


def test_maps_of_another_number_of_frames_are_refused(moving):
    maps = torch.zeros(1, 3 * moving.heads["boxes"].in_channels, 8, 8)
    with pytest.raises(ValueError, match="needs 2 maps of"):
        moving.heads["boxes"]([maps])


def objects(*rows: tuple[str, float, float, float, float]) -> InstanceData:
    """Ground truth of objects, each its class, x, y, vx, vy."""
    boxes = torch.tensor([[x, y, 0, 4, 2, 1.5, 0, vx, vy] for _, x, y, vx, vy in rows])
    labels = torch.tensor([CLASSES.index(name) for name, *_ in rows], dtype=torch.long)
    boxes = LiDARInstance3DBoxes(boxes.reshape(-1, 9), box_dim=9)
    return InstanceData(bboxes_3d=boxes, labels_3d=labels)


@pytest.fixture
def velocity_loss(moving):
    """``velocity_loss(map of each task, ground truth)`` of one sample, weight 1."""
    moving.heads["boxes"].velocity_weight = 1.0

    def loss(velocities, gt: InstanceData) -> torch.Tensor:
        return moving.heads["boxes"].velocity_loss(velocities, [gt])

    return loss


@pytest.fixture
def still(moving):
    """A map of zeros of each task."""
    head = moving.heads["boxes"]
    return [torch.zeros(1, 2, *head.cell_centres.shape[:2]) for _ in head.task_heads]


def test_velocities_learn_at_all_cells_within_two_metres(moving, velocity_loss, still):
    car = objects(("car", 9.6, 1.6, 3.0, -1.0))
    assert velocity_loss(still, car).item() == pytest.approx(2.0)

    centres = moving.heads["boxes"].cell_centres
    near = (centres - torch.tensor([9.6, 1.6])).norm(dim=-1) <= 2.0
    assert near.sum() == 2  # it lies between two cells of 3.2 m
    right = [torch.zeros_like(velocity) for velocity in still]
    right[0][0, :, near] = torch.tensor([[3.0], [-1.0]])
    assert velocity_loss(right, car).item() == 0.0
    elsewhere = [velocity + 100 * ~near for velocity in right]
    assert velocity_loss(elsewhere, car).item() == 0.0


def test_a_cell_learns_the_nearest_objects_velocity(velocity_loss, moving, still):
    cars = objects(("car", 8.0, 1.0, 4.0, 4.0), ("car", 10.0, 1.0, -4.0, -4.0))
    predicted = [velocity.clone() for velocity in still]
    first = moving.heads["boxes"].cell_centres[..., 0] < 9.0
    predicted[0][0] = torch.where(first, 4.0, -4.0)
    assert velocity_loss(predicted, cars).item() == 0.0


def test_each_task_learns_its_own_classes(velocity_loss, still):
    both = objects(("car", 10.0, 1.0, 3.0, 3.0), ("pedestrian", 10.0, 1.0, 1.0, 1.0))
    predicted = [velocity.clone() for velocity in still]
    predicted[0] += 3.0
    assert velocity_loss(predicted, both).item() == pytest.approx(1.0)
    predicted[-1] += 1.0
    assert velocity_loss(predicted, both).item() == 0.0


@pytest.mark.parametrize(
    "gt", [objects(), objects(("car", 10.0, 1.0, torch.nan, torch.nan))], ids=["none", "unknown"]
)
def test_no_known_velocity_is_no_loss(velocity_loss, still, gt):
    velocities = [velocity.requires_grad_() for velocity in still]
    loss = velocity_loss(velocities, gt)
    loss.backward()
    assert loss.item() == 0.0
    assert all(not velocity.grad.any() for velocity in velocities)


def test_velocities_alone_are_those_of_the_whole_head(moving):
    train_motion(moving)
    maps = torch.randn(1, 2 * moving.heads["boxes"].in_channels, 16, 16)
    with torch.no_grad():
        alone = moving.heads["boxes"].velocities(moving.heads["boxes"].shared_maps(maps))
        whole = moving.heads["boxes"]([maps])
    for velocity, task in zip(alone, whole, strict=True):
        torch.testing.assert_close(velocity, task[0]["vel"], rtol=1e-5, atol=1e-5)
