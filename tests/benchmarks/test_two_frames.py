from __future__ import annotations

from pathlib import Path

import pytest
import torch
from encoded import encoded_path, keep_encoded
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from training_variants import merged
from two_frames import CONFIG, FRAMES, REPO, SMALLER, load_detector, whole

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.errors import DataError


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
    config = merged(Config.fromfile(REPO / CONFIG).to_dict(), SMALLER)
    return MODELS.build(config["model"]).state_dict()


@pytest.fixture
def two_frames(detector):
    """The detector with a head that sees motion."""
    model = MODELS.build(whole("two_frames")["model"]).eval()
    load_detector(model, detector)
    return model


@torch.no_grad()
def head_inputs(model, dataset: dict, index: int, mode: str) -> torch.Tensor:
    """What the head gets of a sample."""
    seen = []
    hook = model.bbox_head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    data = model.data_preprocessor(pseudo_collate([DATASETS.build(dataset)[index]]))
    model(**data, mode=mode)
    hook.remove()
    return seen[0]


def test_kept_maps_give_the_head_what_their_images_give(detector, two_frames, dataset, tmp_path):
    config = whole("two_frames")
    samples = dataset(config)
    keep_encoded(two_frames, samples, tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 3
    from_images = head_inputs(two_frames, samples, index=2, mode="tensor")

    pipeline = [dict(type="LoadEncoded", folder=str(tmp_path)), dict(type="PackBEVInputs")]
    for name, frames in FRAMES.items():
        overrides = dict(type="FromEncoded", data_preprocessor=dict(type="EncodedPreprocessor"))
        carried = MODELS.build(merged(whole(name)["model"], overrides)).eval()
        load_detector(carried, detector)
        from_kept = head_inputs(carried, {**samples, "pipeline": pipeline}, 2, mode="loss")
        expected = from_images[:, : frames * from_images.shape[1] // 2]
        torch.testing.assert_close(from_kept, expected, rtol=2e-3, atol=2e-3)


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


def test_a_sample_is_kept_under_its_first_image():
    assert encoded_path("kept", "samples/CAM_FRONT_LEFT/a__1.jpg") == Path("kept/a__1.npy")
