"""The variants of the experiment, its model without boxes, and its training data."""

from __future__ import annotations

import pickle
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet3d.registry import MODELS
from mmdet3d.utils import register_all_modules

import bevdepth_plus.plugin  # noqa: F401
import experiments.temporal_order.depth_alone  # noqa: F401
from bevdepth_plus.datasets.info_file import read_info_file
from experiments.runner.variants import training_config
from experiments.temporal_order.lidar_share import (
    EveryOtherWithLidar,
    StandInTeacher,
    write_sparse_infos,
)
from experiments.temporal_order.run import LOSSES, SETTINGS, VARIANTS


@pytest.fixture(scope="module")
def configs() -> dict[str, dict]:
    register_all_modules()
    return {variant.name: training_config(variant, seed=0, steps=5) for variant in VARIANTS}


def test_every_variant_differs_in_its_loss_and_its_lidar_alone(configs):
    assert len(configs) == sum(len(losses) for _, losses in SETTINGS.values())
    for name, config in configs.items():
        setting, loss = name.split("-")
        assert set(config["model"]["depth"].get("map_losses") or {}) == {loss} - {"none"}
        assert bool(config["model"]["depth"].get("loss")) == (setting != "boxes")
        pipeline = config["train_dataloader"]["dataset"]["pipeline"]
        assert ("depth_labels" in pipeline) == (setting != "boxes")
        assert set(LOSSES[loss][2]) <= set(pipeline)


def test_depth_alone_has_the_detectors_names_and_gives_its_depth(configs):
    config = configs["all-order"]["model"]
    torch.manual_seed(0)
    alone = MODELS.build(config).eval()
    whole = MODELS.build({**config, "type": "BEVDepth"}).eval()
    assert alone.state_dict().keys() == {
        name for name in whole.state_dict() if name.startswith(("image_encoder.", "depth."))
    }


def test_one_scene_of_so_many_keeps_its_lidar(synthetic_root, tmp_path):
    from bevdepth_plus.datasets.create_infos import create_info_files

    train, _ = create_info_files(synthetic_root, "v1.0-mini", tmp_path, progress=False)
    content = read_info_file(train)
    infos = content["data_list"]
    for index, info in enumerate(infos):  # as if there were scenes of one sample
        info["scene_token"] = f"scene-{index}"
    with (tmp_path / "bevdepth_plus_infos_train.pkl").open("wb") as file:
        pickle.dump(content, file)
    name = write_sparse_infos(tmp_path, every=2)
    kept = read_info_file(tmp_path / name)["data_list"]
    has_lidar = [info["lidar_points"]["lidar_path"] is not None for info in kept]
    assert has_lidar == [index % 2 == 0 for index in range(len(infos))]


def test_every_other_step_has_labels_and_all_samples_take_part():
    class SomeWithLidar:
        def __len__(self):
            return 10

        def get_data_info(self, index):
            return dict(lidar_path="sweep.bin" if index in (3, 7) else None)

    drawn = list(islice(EveryOtherWithLidar(SomeWithLidar(), seed=0), 16))
    again = list(islice(EveryOtherWithLidar(SomeWithLidar(), seed=0), 16))
    other = list(islice(EveryOtherWithLidar(SomeWithLidar(), seed=1), 16))
    assert drawn == again != other
    assert set(drawn[::2]) == {3, 7} and drawn[::2].count(3) == 4
    assert sorted(drawn[1::2]) == [0, 1, 2, 4, 5, 6, 8, 9]


def test_the_teacher_knows_the_order_and_not_the_scale(tmp_path):
    depth = np.array([[0, 500, 4000], [1000, 2000, 300]], dtype=np.uint16)  # centimetres
    folder = tmp_path / "depth" / "CAM"
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "a.png"), depth)
    results = dict(
        token="t",
        cam_names=["CAM"],
        img=[np.zeros((2, 3, 3), np.uint8)],
        img_path=[str(Path(tmp_path) / "samples" / "CAM" / "a.jpg")],
        raw_shape=[(2, 3)],
        image_aug=np.eye(3)[None, None],
    )
    first, again = (StandInTeacher()(results)["teacher_depth"][0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first[0, 0] == 0
    np.testing.assert_array_equal(np.argsort(first.ravel()), np.argsort(depth.ravel()))
    ratios = first[depth > 0] / depth[depth > 0]
    assert ratios.max() > 1.05 * ratios.min()
