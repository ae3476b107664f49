from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lifted import keep_lifted, lifted_path
from mmdet3d.registry import DATASETS, MODELS
from mmdet3d.utils import register_all_modules
from mmengine.dataset import pseudo_collate
from training_variants import merged
from two_frames import WHOLE, whole, widened

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.errors import DataError


@pytest.fixture(scope="module")
def configs(synthetic_root, tmp_path_factory) -> dict[str, dict]:
    """The variants over the synthetic scenes of the tests, three key frames to train on."""
    register_all_modules()
    folder = tmp_path_factory.mktemp("infos")
    create_info_files(synthetic_root, "v1.0-mini", folder, progress=False)
    (folder / "samples").symlink_to(Path(synthetic_root) / "samples")
    found = {}
    for name in WHOLE:
        found[name] = whole(name)
        found[name]["val_dataloader"]["dataset"].update(
            data_root=f"{folder}/", ann_file="bevdepth_plus_infos_train.pkl"
        )
    return found


@pytest.fixture(scope="module")
def models(configs) -> dict:
    """One frame with random weights, and the other variants begun with them."""
    torch.manual_seed(0)
    found = {name: MODELS.build(config["model"]).eval() for name, config in configs.items()}
    one = found["one_frame"].state_dict()
    for model in found.values():
        model.load_state_dict(widened(one, model.state_dict()))
    return found


@torch.no_grad()
def heatmap(model, dataset: dict, index: int) -> torch.Tensor:
    data = model.data_preprocessor(pseudo_collate([DATASETS.build(dataset)[index]]))
    return model(**data, mode="tensor")[0][0]["heatmap"]


@pytest.mark.parametrize("name", ["two_frames", "correlated"])
def test_two_frames_begin_as_the_function_of_one(configs, models, name):
    one, two = (
        heatmap(models[variant], configs[variant]["val_dataloader"]["dataset"], index=1)
        for variant in ("one_frame", name)
    )
    torch.testing.assert_close(two, one, rtol=0, atol=1e-4)


def test_weights_of_another_model_are_refused():
    with pytest.raises(DataError, match="conv"):
        widened({"conv": torch.zeros(3, 9)}, {"conv": torch.zeros(3, 8)})


def test_kept_features_give_what_their_images_give(configs, models, tmp_path):
    one, two = models["one_frame"], models["two_frames"]
    one_set, two_set = (
        configs[name]["val_dataloader"]["dataset"] for name in ("one_frame", "two_frames")
    )
    keep_lifted(one, one_set, tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 3

    with torch.no_grad():
        two.bev_encoder.backbone.conv1.weight[:, 48:] = 0.1  # so that the past counts
    overrides = dict(type="FromLifted", data_preprocessor=dict(type="LiftedPreprocessor"))
    carried = MODELS.build(merged(configs["two_frames"]["model"], overrides)).eval()
    carried.load_state_dict(two.state_dict())
    pipeline = [dict(type="LoadLifted", folder=str(tmp_path)), dict(type="PackBEVInputs")]
    from_images = heatmap(two, two_set, index=2)
    from_kept = heatmap(carried, {**two_set, "pipeline": pipeline}, index=2)
    scale = from_images.std()
    assert (from_kept - from_images).abs().max() < 0.02 * scale
    without_past = heatmap(one, one_set, index=2)
    assert (without_past - from_images).abs().max() > scale


def test_a_key_frame_is_kept_under_its_first_image():
    assert lifted_path("kept", "samples/CAM_FRONT_LEFT/a__1.jpg") == Path("kept/a__1.npz")
