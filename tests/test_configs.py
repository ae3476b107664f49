"""Every config builds its model, and the model's parts fit; on the meta device, without numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from mmdet3d.registry import MODELS
from mmdet3d.utils import register_all_modules
from mmengine.config import Config

import bevdepth_plus.plugin  # noqa: F401

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
# Networks of the wings, which are no detectors: each trains on pairs or sequences.
WINGS = sorted(
    path.stem for pattern in ("deltas_*", "pointmap_*") for path in CONFIGS.glob(f"{pattern}.py")
)
DETECTORS = sorted({path.stem for path in CONFIGS.glob("*.py")} - set(WINGS))
RECIPE = sorted(path.stem for path in CONFIGS.glob("bevdepth_*r*_*.py"))


def load(name: str) -> Config:
    return Config.fromfile(CONFIGS / f"{name}.py")


def build(config: Config):
    register_all_modules()
    config.model.image_encoder.backbone.init_cfg = None
    with torch.device("meta"):
        return MODELS.build(config.model)


def innermost(dataset: dict) -> dict:
    return innermost(dataset["dataset"]) if "dataset" in dataset else dataset


@pytest.mark.parametrize("name", DETECTORS)
def test_the_parts_of_every_model_fit_together(name):
    config = load(name)
    model = build(config).eval()
    height, width = config.model.image_size
    features = model.image_encoder(torch.empty(1, 1, 3, height, width, device="meta"))
    frustum, depth = model.view_transform.frustum, model.depth
    assert features.shape[-2:] == (len(frustum.v), len(frustum.u))
    channels = depth.context_channels
    image_channels = features.shape[2] + depth.ground_cue
    assert image_channels == depth.depth_net.reduce[0].in_channels
    if "metric" in depth.priors:
        assert image_channels == depth.priors["metric"].trunk[0].in_channels
    frames = {
        innermost(config[f"{split}_dataloader"].dataset).get("num_frames", 1)
        for split in ("train", "val", "test")
    }
    assert len(frames) == 1
    assert frames == {model.temporal.num_frames}
    maps = [torch.empty(1, channels, *frustum.grid.bev_size, device="meta")] * frames.pop()
    (output,) = model.heads["boxes"].outputs(model.temporal(maps))[0]
    assert output["heatmap"].shape == (1, 1, *frustum.grid.bev_size)
    for split in ("train", "val", "test"):
        pipeline = innermost(config[f"{split}_dataloader"].dataset).pipeline
        assert tuple(pipeline["augment_images"]["final_dim"]) == (height, width)


@pytest.mark.parametrize("name", WINGS)
def test_a_wing_s_network_takes_the_images_of_its_data_sets(name):
    register_all_modules()
    config = load(name)
    sizes = {tuple(config[f"{s}_dataloader"].dataset.final_dim) for s in ("train", "val", "test")}
    (size,) = sizes
    if "encoder" in config.model.network:
        config.model.network.encoder.init_cfg = None  # nothing is fetched here
    model = MODELS.build(config.model).eval()
    num_views = config.val_dataloader.dataset.num_views
    poses = torch.eye(4).repeat(1, num_views - 1, 1, 1)
    poses[..., 0, 3] = 1.0
    batch = dict(
        images=torch.zeros(1, num_views, 3, *size, dtype=torch.uint8),
        intrinsics=torch.tensor([[200.0, 0, size[1] / 2], [0, 200, size[0] / 2], [0, 0, 1]]).expand(
            1, num_views, 3, 3
        ),
        anchor_T_source=poses,
        depth=torch.full((1, *size), 5.0),
        source_depths=torch.full((1, num_views - 1, *size), 5.0),
        token=["a"],
    )
    with torch.no_grad():
        (prediction,) = model(**model.data_preprocessor(batch), mode="predict")
    assert {depth.shape for depth in prediction["pred_depths"].values()} == {size}


@pytest.mark.parametrize("name", RECIPE)
def test_batch_norm_learns_in_the_recipe_but_not_in_the_frozen_stem(name):
    model = build(load(name)).train()
    norms = {
        part: [m for m in module.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        for part, module in model.named_children()
    }
    still = {part: sum(not norm.training for norm in found) for part, found in norms.items()}
    assert {part: count for part, count in still.items() if count} == {"image_encoder": 1}


def test_the_class_balanced_recipe_differs_where_its_name_says():
    config = load("bevdepth_r50_256x704_20e_cbgs_2key_da_ema")
    plain = load("bevdepth_r50_256x704_24e_2key")
    assert config.train_dataloader.dataset.type == "BEVCBGSDataset"
    assert config.train_dataloader.dataset.dataset == plain.train_dataloader.dataset
    assert config.val_dataloader == plain.val_dataloader
    assert config.train_cfg.max_epochs == 20
    assert config.param_scheduler[0].milestones == [16, 19]
    assert config.model.view_transform.refinement.channels == 80
    hooks = [hook["type"] for hook in config.custom_hooks]
    assert hooks == [*(hook["type"] for hook in plain.custom_hooks), "EMAHook"]


def test_the_model_index_names_every_recipe_and_claims_no_result():
    (imported,) = yaml.safe_load((CONFIGS.parent / "model-index.yml").read_text())["Import"]
    models = yaml.safe_load((CONFIGS.parent / imported).read_text())["Models"]
    assert sorted(model["Name"] for model in models) == RECIPE
    assert all((CONFIGS.parent / model["Config"]).is_file() for model in models)
    assert not any("Results" in model for model in models)
