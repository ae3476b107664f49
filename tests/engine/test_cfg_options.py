from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.config import Config

from bevdepth_plus.engine.cfg_options import load_with_options
from bevdepth_plus.errors import DataError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TWO_FRAMES = CONFIGS / "bevdepth_r50_256x704_24e_2key.py"
READ = ("model", "train_dataloader", "val_dataloader", "test_dataloader", "val_evaluator")


@pytest.fixture
def config(tmp_path) -> Path:
    """A config over a base, with a variable of several lines; nothing of it is imported."""
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_" / "base.py").write_text(
        'data_root = "a"\n'
        "unused = 1\n"
        "size = (\n    4,\n    8,\n)\n"
        'model = dict(type="Unregistered", size=size, depth=18)\n'
        "val_dataloader = dict(batch_size=1, dataset=dict(data_root=data_root, pipeline=[size]))\n"
        "test_dataloader = val_dataloader\n"
    )
    path = tmp_path / "own.py"
    path.write_text('_base_ = ["_base_/base.py"]\ndata_root = "b"\nlr = 2e-4\n')
    return path


def test_a_variable_takes_effect_wherever_the_config_files_use_it(config):
    cfg = load_with_options(config, {"data_root": "c", "size": (2, 2)})
    assert cfg.val_dataloader.dataset.data_root == cfg.test_dataloader.dataset.data_root == "c"
    assert tuple(cfg.model.size) == (2, 2)
    assert Path(cfg.filename).name == "own.py"


def test_the_data_root_of_a_recipe_moves_all_its_files():
    cfg = load_with_options(TWO_FRAMES, {"data_root": "/data/nuscenes"})
    for split in ("train", "val", "test"):
        assert cfg[f"{split}_dataloader"].dataset.data_root == "/data/nuscenes"
    for split in ("val", "test"):
        expected = "/data/nuscenes/bevdepth_plus_infos_val.pkl"
        assert cfg[f"{split}_evaluator"].ann_file == expected


def test_what_follows_from_a_variable_follows():
    cfg = load_with_options(TWO_FRAMES, {"num_frames": 3})
    assert cfg.train_dataloader.dataset.num_frames == 3
    assert cfg.model.bev_encoder.backbone.in_channels == 240


def test_without_variables_the_config_is_mmengines_own():
    assert load_with_options(TWO_FRAMES, {}) == Config.fromfile(TWO_FRAMES)
    same = load_with_options(TWO_FRAMES, {"num_frames": 2})
    for key in READ:
        assert same[key] == Config.fromfile(TWO_FRAMES)[key]


def test_a_setting_is_replaced_alone():
    options = {"train_dataloader.batch_size": 2, "train_dataloader.dataset.pipeline.1.flip": False}
    cfg = load_with_options(TWO_FRAMES, options)
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.train_dataloader.dataset.pipeline[1].flip is False
    assert cfg.val_dataloader.batch_size == 1


@pytest.mark.parametrize(
    "key",
    [
        "model.test_time_flips.image",
        "model.view_transform.rounding",
        "train_dataloader.dataset.min_lidar_points",
        "train_dataloader.pin_memory",
        "optim_wrapper.accumulative_counts",
        "optim_wrapper.optimizer.betas",
        "sync_bn",
        "load_from",
    ],
)
def test_a_setting_that_is_read_but_not_in_the_config_is_taken(key):
    cfg = load_with_options(TWO_FRAMES, {key: 1})
    for part in key.split("."):
        cfg = cfg[part]
    assert cfg == 1


@pytest.mark.parametrize(
    ("key", "complaint"),
    [
        ("mdoel.depth_bins.stop", "nothing reads 'mdoel'; did you mean 'model'"),
        ("data_rot", "nothing reads 'data_rot'; did you mean 'data_root'"),
        ("model.hedas.boxes.tasks", "nothing reads 'hedas'; did you mean 'heads'"),
        ("model.depth.depth_net.mid_chanels", "did you mean 'mid_channels'"),
        ("model.heads.boxes.nms_radiuss", "did you mean 'nms_radius'"),
        ("train_dataloader.batchsize", "did you mean 'batch_size'"),
        ("train_dataloader.dataset.num_frame", "did you mean 'num_frames'"),
        ("train_cfg.max_epoch", "did you mean 'max_epochs'"),
        ("optim_wrapper.optimizer.learning_rate", "nothing reads 'learning_rate'"),
        ("param_scheduler.9.gamma", "is a list of 1"),
        ("train_pipeline.pack.flip", "train_pipeline is a variable of the config file"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused_in_one_line(key, complaint):
    with pytest.raises(DataError, match=complaint) as error:
        load_with_options(TWO_FRAMES, {key: 1})
    assert "\n" not in str(error.value)


def test_a_variable_that_nothing_uses_is_refused(config):
    with pytest.raises(DataError, match="unused=... changes nothing: no setting of the config"):
        load_with_options(config, {"unused": 2})
    with pytest.raises(DataError, match="lr=... changes nothing"):
        load_with_options(config, {"lr": 1e-3})


def test_a_mapping_in_the_place_of_a_number_is_refused(config):
    with pytest.raises(DataError, match=r"model.depth.x=1 cannot be set"):
        load_with_options(config, {"model.depth.x": 1})
