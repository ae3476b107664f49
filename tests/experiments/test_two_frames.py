from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import nn

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.errors import DataError
from bevdepth_plus.visualization.style import GAP
from experiments.runner.variants import REPO, merged, training_config
from experiments.two_frames.figure import draw
from experiments.two_frames.run import (
    CLOSE_BY,
    CONFIG,
    Start,
    detector_config,
    velocity_variant,
)
from experiments.two_frames.run import (
    test_set as make_test_set,
)
from experiments.two_frames.shared_maps import shared_maps_path, write_shared_maps
from experiments.two_frames.velocity_training import load_one_frame_detector, whole_detector


@pytest.fixture(scope="module")
def dataset(synthetic_root, tmp_path_factory):
    """``dataset(config)``: the synthetic scenes of the tests, three key frames to train on."""
    folder = tmp_path_factory.mktemp("infos")
    create_info_files(synthetic_root, "v1.0-mini", folder, progress=False)
    (folder / "samples").symlink_to(Path(synthetic_root) / "samples")

    def build(config: dict) -> dict:
        where = dict(data_root=f"{folder}/", ann_file="bevdepth_plus_infos_train.pkl")
        return merged(config["val_dataloader"]["dataset"], where)

    return build


@pytest.fixture(scope="module")
def detector() -> dict[str, torch.Tensor]:
    """Random weights of the one-frame detector."""
    register_all_modules()
    torch.manual_seed(0)
    config = merged(Config.fromfile(REPO / CONFIG).to_dict(), CLOSE_BY)
    return MODELS.build(config["model"]).state_dict()


def sample_of(model, dataset: dict, index: int) -> dict:
    """A sample as the model gets it."""
    return model.data_preprocessor(pseudo_collate([DATASETS.build(dataset)[index]]))


def velocity_model(name: str, start: Path | None = None):
    """The model that learns a variant's velocities from shared maps."""
    register_all_modules()
    model = detector_config(name)["model"]
    return MODELS.build({**model, "type": "VelocityFromSharedMaps", "start": start and str(start)})


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
@torch.no_grad()
def test_shared_maps_give_the_velocities_that_their_images_give(detector, dataset, tmp_path, jobs):
    folder, weights = tmp_path / "maps", tmp_path / "weights.pth"
    pipeline = [dict(type="LoadSharedMaps", folder=str(folder)), dict(type="PackBEVInputs")]
    for name in ("two_frames", "one_frame"):
        config = detector_config(name)
        model = MODELS.build(config["model"]).eval()
        load_one_frame_detector(model, detector)
        nn.init.normal_(model.heads["boxes"].motion[-1].weight)
        torch.save(dict(state_dict=model.state_dict(), meta={}), weights)
        if name == "two_frames":  # as in the experiment: the maps of both moments, written once
            write_shared_maps(config["model"], weights, dataset(config), folder, jobs)
            assert len(list(folder.glob("*.npy"))) == 3
        expected = model(**sample_of(model, dataset(config), 2), mode="tensor")["boxes"]
        alone = velocity_model(name, weights)
        alone.init_weights()
        alone.eval()
        sample = sample_of(alone, {**dataset(config), "pipeline": pipeline}, 2)
        found = alone.velocities(torch.cat(sample["inputs"]["img"]).float())
        for velocity, task in zip(found, expected, strict=True):
            torch.testing.assert_close(velocity, task[0]["vel"], rtol=2e-3, atol=2e-3)


def test_only_the_motion_layers_train_and_the_rest_of_the_head_keeps_its_statistics():
    model = velocity_model("two_frames").train()
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    motion = model.heads["boxes"].motion
    assert trained == {f"heads.boxes.motion.{name}" for name, _ in motion.named_parameters()}
    assert motion.training
    assert not model.heads["boxes"].shared_conv.training
    assert not model.heads["boxes"].task_heads.training


def test_trained_heads_return_into_the_detector_they_started_from(detector, tmp_path):
    start, trained = tmp_path / "start.pth", tmp_path / "iter_5.pth"
    whole = MODELS.build(detector_config("two_frames")["model"])
    load_one_frame_detector(whole, detector)
    torch.save(dict(state_dict=whole.state_dict(), meta={}), start)
    alone = velocity_model("two_frames", start)
    alone.init_weights()
    nn.init.ones_(alone.heads["boxes"].motion[-1].bias)
    torch.save(dict(state_dict=alone.state_dict(), meta={}), trained)
    weights = torch.load(whole_detector(trained, start), weights_only=True)["state_dict"]
    changed = {n for n, value in whole.state_dict().items() if not torch.equal(value, weights[n])}
    assert changed == {"heads.boxes.motion.5.bias"}
    assert whole.state_dict().keys() == weights.keys()


def test_velocities_are_trained_from_maps_and_tested_with_the_whole_detector():
    start = Start("maps", {"two_frames": "start.pth"})
    variant = velocity_variant("two_frames", start)
    trained = training_config(variant, seed=0, steps=5)
    steps = trained["train_dataloader"]["dataset"]["pipeline"]
    assert [step["type"] for step in steps.values()] == ["LoadSharedMaps", "PackBEVInputs"]
    assert trained["model"]["type"] == "VelocityFromSharedMaps"
    tested = merged(trained, make_test_set("data/here").overrides)
    assert tested["model"] == detector_config("two_frames")["model"]


def test_weights_of_another_detector_are_refused(detector):
    model = MODELS.build(detector_config("one_frame")["model"])
    with pytest.raises(DataError, match="more_to_it"):
        load_one_frame_detector(model, {**detector, "more_to_it": torch.zeros(1)})
    with pytest.raises(DataError, match="depth_net"):
        load_one_frame_detector(model, {k: v for k, v in detector.items() if "depth_net" not in k})


@pytest.mark.slow
def test_the_picture_has_a_panel_for_each_detector(detector, dataset, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save(dict(state_dict=detector), weights)
    config = Config.fromfile(REPO / CONFIG)
    config.merge_from_dict(CLOSE_BY)
    config.test_dataloader.dataset = dataset(config)
    draw({"before": (config, weights), "after": (config, weights)}, 0, 25.0, tmp_path / "a.png")
    picture = cv2.imread(str(tmp_path / "a.png"))
    side = picture.shape[0] - 2 * GAP
    left, right = (picture[GAP:-GAP, start : start + side] for start in (GAP, 2 * GAP + side))
    below_the_name = slice(side // 10, None)
    assert (left != right).any()
    assert (left[below_the_name] == right[below_the_name]).all()
    assert len(np.unique(left.reshape(-1, 3), axis=0)) > 100


def test_the_maps_of_a_sample_have_the_name_of_its_first_image():
    path = shared_maps_path("maps", "samples/CAM_FRONT_LEFT/a__1.jpg")
    assert path == Path("maps/a__1.npy")
