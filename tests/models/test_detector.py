from __future__ import annotations

import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from scipy.spatial.transform import Rotation

from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.models.depth.depth_net import NUM_CAMERA_PARAMETERS


def losses(model, data):
    batch = model.data_preprocessor(data, training=True)
    return model(**batch, mode="loss")


@pytest.mark.parametrize(("batch", "cameras"), [(1, 1), (2, 3)])
def test_it_trains_at_any_batch_size_and_number_of_cameras(small_model, make_batch, batch, cameras):
    model = small_model().train()
    found = losses(model, make_batch(batch, cameras))
    assert set(found) == {"loss_heatmap", "loss_bbox", "loss_depth"}
    sum(found.values()).backward()
    gradients = [p.grad for p in model.parameters()]
    assert all(g is not None and torch.isfinite(g).all() for g in gradients)
    assert any(g.abs().sum() > 0 for g in gradients)


def test_a_sample_without_objects_trains_on(small_model, make_batch):
    model = small_model().train()
    found = losses(model, make_batch(objects=0))
    assert found["loss_bbox"] == 0
    sum(found.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_the_past_frame_is_fused_but_not_trained_through(small_model, make_batch):
    model = small_model(frames=2).train()
    data = make_batch(cameras=2, frames=2)
    batch = model.data_preprocessor(data, training=True)
    images = batch["inputs"]["img"].requires_grad_()
    sum(model(batch["inputs"], batch["data_samples"], mode="loss").values()).backward()
    key, past = images.grad[:, :2], images.grad[:, 2:]
    assert key.abs().sum() > 0
    assert past.abs().sum() == 0


def test_the_past_image_changes_the_boxes(small_model, make_batch):
    model = small_model(frames=2)
    model.eval()
    data = make_batch(frames=2)
    changed = make_batch(frames=2)
    changed["inputs"]["img"][0][1] = 255 - changed["inputs"]["img"][0][1]
    with torch.no_grad():
        heatmap, other = (
            model(**model.data_preprocessor(d), mode="tensor")["boxes"][0][0]["heatmap"]
            for d in (data, changed)
        )
    assert not torch.equal(heatmap, other)


@pytest.mark.parametrize("ground_cue", [False, True])
def test_the_past_is_seen_as_when_it_was_the_present(small_config, make_batch, ground_cue):
    config = small_config(frames=2)
    config["depth"]["ground_cue"] = ground_cue
    config["depth"]["depth_net"].pop("in_channels")
    torch.manual_seed(0)
    model = MODELS.build(config).eval()
    data = model.data_preprocessor(make_batch(cameras=2, frames=2))
    meta = data["data_samples"][0].metainfo
    driven = np.eye(4)  # turned, tilted, and up a slope
    driven[:3, :3] = Rotation.from_euler("zyx", [0.1, 0.02, -0.01]).as_matrix()
    driven[:3, 3] = -6.0, 1.0, 0.2
    meta["ego_T_cam"] = np.stack([meta["ego_T_cam"][0], driven @ meta["ego_T_cam"][0]])
    rig = CameraRig.from_metainfo([meta])
    images = data["inputs"]["img"][:, 2:]
    with torch.no_grad():
        then = model.perceive(images, rig.moment(0))
        now = model.perceive(images, rig.moment(1), key=rig.moment(0))
    torch.testing.assert_close(now.bins, then.bins, rtol=0, atol=0)


def test_predictions_hold_boxes_in_ego_and_metric_depth_within_the_bins(small_model, make_batch):
    model = small_model()
    model.eval()
    with torch.no_grad():
        (sample,) = model.test_step(make_batch(cameras=2))
    assert sample.pred_instances_3d.bboxes_3d.tensor.shape[1] == 9
    (depth,) = sample.pred_depths.values()
    assert depth.shape == sample.gt_depth.shape == (2, 4, 6)
    assert 2 <= depth.min() and depth.max() <= 34


def with_past_depth(data: dict, frames: int) -> dict:
    """The batch with labels of the frames before the key frame, 12 m everywhere."""
    depth = [torch.full((frames - 1, *each.shape), 12.0) for each in data["inputs"]["depth"]]
    data["inputs"]["past_depth"] = depth
    return data


@pytest.mark.parametrize("frames", [2, 3])
def test_depth_of_all_moments_that_the_model_uses_is_in_its_samples(
    small_model, make_batch, frames
):
    model = small_model(frames=2).eval()
    with torch.no_grad():
        samples = model.test_step(with_past_depth(make_batch(2, cameras=3, frames=frames), frames))
    for sample in samples:
        assert list(sample.pred_depths_over_time) == list(sample.pred_depths) == ["bin"]
        depth, truth = sample.pred_depths_over_time["bin"], sample.gt_depth_over_time
        assert depth.shape == truth.shape == (2, 3, 4, 6)
        assert torch.equal(depth[0], sample.pred_depths["bin"])
        assert torch.equal(truth[0], sample.gt_depth) and (truth[1] == 12).all()
        assert not torch.equal(depth[1], depth[0])


def test_one_moment_alone_has_no_depth_over_time(small_model, make_batch):
    model = small_model().eval()
    with torch.no_grad():
        (sample,) = model.test_step(with_past_depth(make_batch(frames=2), 2))
        (without,) = small_model(2).eval().test_step(make_batch(frames=2))
    assert "pred_depths" in sample and "pred_depths_over_time" not in sample
    assert "pred_depths_over_time" not in without


def test_predictions_do_not_depend_on_the_other_samples_of_the_batch(small_model, make_batch):
    model = small_model()
    model.eval()
    pair = make_batch(batch=2)
    alone = dict(
        inputs={name: tensors[:1] for name, tensors in pair["inputs"].items()},
        data_samples=pair["data_samples"][:1],
    )
    with torch.no_grad():
        in_pair, by_itself = (
            model(**model.data_preprocessor(d), mode="tensor")["boxes"][0][0]["heatmap"][0]
            for d in (pair, alone)
        )
    torch.testing.assert_close(in_pair, by_itself)


def test_without_camera_awareness_the_parameters_do_not_matter(small_config):
    config = small_config()
    config["depth"]["depth_net"]["camera_aware"] = False
    depth_net = MODELS.build(config).depth.depth_net.eval()
    features = torch.randn(1, 1, 32, 4, 6, generator=torch.Generator().manual_seed(0))
    parameters = torch.zeros(1, 1, NUM_CAMERA_PARAMETERS)
    logits, context = depth_net(features, parameters)
    others = depth_net(features, parameters + 7)
    torch.testing.assert_close((logits, context), others, rtol=0, atol=0)


def test_another_focal_length_gives_another_depth(small_model):
    depth_net = small_model().depth.depth_net.eval()
    features = torch.randn(1, 1, 32, 4, 6, generator=torch.Generator().manual_seed(0))
    parameters = torch.zeros(1, 1, NUM_CAMERA_PARAMETERS)
    longer = parameters.clone()
    longer[..., :2] = 1000.0
    assert not torch.allclose(depth_net(features, parameters)[0], depth_net(features, longer)[0])


def test_batches_of_unlike_samples_are_refused_by_name(small_model, make_batch):
    data = make_batch(batch=2)
    data["inputs"]["img"][1] = data["inputs"]["img"][1][:, :, :32]
    with pytest.raises(ValueError, match="differ in the shape of 'img'"):
        small_model().data_preprocessor(data)


def test_an_image_size_the_backbone_cannot_halve_is_refused(small_config):
    with pytest.raises(ValueError, match=r"multiples of 32 pixels, got \(64, 100\)"):
        MODELS.build({**small_config(), "image_size": (64, 100)})


def test_images_of_another_size_than_the_models_are_refused(small_model, make_batch):
    data = make_batch()
    data["inputs"]["img"][0] = data["inputs"]["img"][0][:, :, :32]
    with pytest.raises(ValueError, match=r"images are \(32, 96\), the model's image_size"):
        losses(small_model(), data)


def test_two_training_steps_are_bit_identical_in_two_runs(small_model, make_batch):
    def train():
        torch.manual_seed(1)
        model = small_model().train()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for _ in range(2):
            optimizer.zero_grad()
            sum(losses(model, make_batch(cameras=2)).values()).backward()
            optimizer.step()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    assert torch.equal(train(), train())


def test_past_frames_train_if_asked_to(small_config, make_batch):
    config = small_config(frames=2)
    config["temporal"]["past_gradient"] = True
    torch.manual_seed(0)
    model = MODELS.build(config).train()
    batch = model.data_preprocessor(make_batch(cameras=2, frames=2), training=True)
    images = batch["inputs"]["img"].requires_grad_()
    sum(model(batch["inputs"], batch["data_samples"], mode="loss").values()).backward()
    assert images.grad[:, 2:].abs().sum() > 0


def test_samples_with_too_few_frames_are_refused(small_model, make_batch):
    with pytest.raises(DataError, match=r"hold 1 frames, the model uses 2 .*num_frames"):
        losses(small_model(frames=2), make_batch(frames=1))


def test_a_depth_loss_without_labels_says_what_to_do(small_model, make_batch):
    data = make_batch()
    data["inputs"].pop("depth")
    with pytest.raises(DataError, match=r"no depth labels: add LoadLidarPoints"):
        losses(small_model(), data)
