from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from encoded import encoded_path, keep_encoded
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import nn
from training_variants import merged
from two_frames import CLOSE_BY, CONFIG, REPO, load_detector, whole
from two_frames_figure import draw

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.errors import DataError
from bevdepth_plus.visualization.style import GAP


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


@torch.no_grad()
def test_kept_maps_give_the_velocities_that_their_images_give(detector, dataset, tmp_path):
    kept, weights = tmp_path / "kept", tmp_path / "weights.pth"
    from_maps = dict(type="FromEncoded", data_preprocessor=dict(type="EncodedPreprocessor"))
    pipeline = [dict(type="LoadEncoded", folder=str(kept)), dict(type="PackBEVInputs")]
    for name in ("two_frames", "one_frame"):
        config = whole(name)
        model = MODELS.build(config["model"]).eval()
        load_detector(model, detector)
        nn.init.normal_(model.bbox_head.motion[-1].weight)
        if name == "two_frames":  # as in the benchmark: the maps of both moments, kept once
            torch.save(dict(state_dict=model.state_dict()), weights)
            keep_encoded(config["model"], weights, dataset(config), kept, jobs=2)
            assert len(list(kept.glob("*.npy"))) == 3
        expected = model(**sample_of(model, dataset(config), 2), mode="tensor")
        carried = MODELS.build(merged(config["model"], from_maps)).eval()
        carried.load_state_dict(model.state_dict())
        sample = sample_of(carried, {**dataset(config), "pipeline": pipeline}, 2)
        for found, task in zip(carried.velocities(sample["inputs"]["img"]), expected, strict=True):
            torch.testing.assert_close(found, task[0]["vel"], rtol=2e-3, atol=2e-3)


def test_all_but_what_sees_motion_is_frozen():
    register_all_modules()
    model = MODELS.build(whole("two_frames")["model"])
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert trained == {
        f"bbox_head.motion.{n}" for n, _ in model.bbox_head.motion.named_parameters()
    }


def test_weights_of_another_detector_are_refused(detector):
    model = MODELS.build(whole("one_frame")["model"])
    with pytest.raises(DataError, match="more_to_it"):
        load_detector(model, {**detector, "more_to_it": torch.zeros(1)})
    with pytest.raises(DataError, match="depth_net"):
        load_detector(model, {k: v for k, v in detector.items() if not k.startswith("depth_net")})


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


def test_a_sample_is_kept_under_its_first_image():
    assert encoded_path("kept", "samples/CAM_FRONT_LEFT/a__1.jpg") == Path("kept/a__1.npy")
