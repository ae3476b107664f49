"""A camera that drops out: nothing of it reaches the boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

NUM_CAMERAS, FRAMES = 3, 2


def without(data: dict, camera: int) -> dict:
    """The batch of the rig that never had this camera."""
    others = [n for n in range(NUM_CAMERAS) if n != camera]
    images = [
        image.unflatten(0, (FRAMES, NUM_CAMERAS))[:, others].flatten(0, 1)
        for image in data["inputs"]["img"]
    ]
    for sample in data["data_samples"]:
        for key in ("intrinsics", "ego_T_cam", "image_aug"):
            sample.set_metainfo({key: sample.metainfo[key][:, others]})
    depth = [depth[others] for depth in data["inputs"]["depth"]]
    return dict(inputs=dict(img=images, depth=depth), data_samples=data["data_samples"])


def masked(data: dict, mask: np.ndarray) -> dict:
    for sample in data["data_samples"]:
        sample.set_metainfo(dict(camera_mask=mask))
    return data


def head_maps(model, data: dict) -> torch.Tensor:
    with torch.no_grad():
        tasks = model(**model.data_preprocessor(data), mode="tensor")["boxes"]
    return torch.cat([value for (task,) in tasks for value in task.values()], dim=1)


@pytest.fixture
def model(small_model):
    model = small_model(frames=FRAMES)
    model.eval()
    return model


@pytest.fixture
def data(make_batch):
    return lambda: make_batch(batch=2, cameras=NUM_CAMERAS, frames=FRAMES)


@pytest.mark.parametrize("camera", range(NUM_CAMERAS))
def test_a_masked_camera_equals_a_rig_without_it(model, data, camera):
    mask = np.arange(NUM_CAMERAS) != camera
    with_mask = head_maps(model, masked(data(), mask))
    torch.testing.assert_close(with_mask, head_maps(model, without(data(), camera)))
    assert not torch.allclose(with_mask, head_maps(model, data()))


def test_what_a_masked_camera_shows_does_not_matter(model, data):
    mask = np.arange(NUM_CAMERAS) != 1
    other = masked(data(), mask)
    for image in other["inputs"]["img"]:
        image.unflatten(0, (FRAMES, NUM_CAMERAS))[:, 1] = 255
    assert torch.equal(head_maps(model, masked(data(), mask)), head_maps(model, other))


def test_a_camera_may_be_out_at_one_moment_only(model, data):
    key_only = np.ones((FRAMES, NUM_CAMERAS), dtype=bool)
    key_only[0, 1] = False
    always = np.arange(NUM_CAMERAS) != 1
    found = [head_maps(model, masked(data(), mask)) for mask in (key_only, always)]
    assert not torch.allclose(*found)


def test_without_any_camera_the_images_do_not_matter(model, data):
    none = np.zeros(NUM_CAMERAS, dtype=bool)
    other = masked(data(), none)
    other["inputs"]["img"] = [255 - image for image in other["inputs"]["img"]]
    found = head_maps(model, masked(data(), none))
    assert found.isfinite().all()
    assert torch.equal(found, head_maps(model, other))


@pytest.mark.parametrize("cameras", [1, 5, 7])
def test_boxes_are_found_with_any_number_of_cameras(model, make_batch, cameras):
    with torch.no_grad():
        samples = model.test_step(make_batch(batch=2, cameras=cameras, frames=FRAMES))
    assert all(sample.pred_instances_3d.bboxes_3d.tensor.shape[1] == 9 for sample in samples)
    assert all(sample.gt_depth.shape == (cameras, 4, 6) for sample in samples)
