"""Pictures of data that is not nuScenes: no LiDAR, a camera out, own classes, tokens and ranges."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.visualization.calibration_page import draw_calibration, scene_of_info
from bevdepth_plus.visualization.depth_page import draw_depth
from bevdepth_plus.visualization.from_config import choose_samples
from bevdepth_plus.visualization.sample_page import draw_sample


@pytest.fixture(scope="module")
def content(synthetic_root, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("infos")
    return read_info_file(create_info_files(synthetic_root, "v1.0-mini", folder, progress=False)[0])


@pytest.fixture
def info(content) -> dict:
    return copy.deepcopy(content["data_list"][0])


def scene_of(info: dict, content: dict, root):
    folders = {name: str(root / "samples" / name) for name in info["images"]}
    lidar = str(root / "samples" / "LIDAR_TOP")
    return scene_of_info(info, content["metainfo"]["categories"], folders, lidar)


def texts(page, panel: str) -> list[str]:
    (axes,) = [axes for axes in page.figure.axes if axes.get_label() == panel]
    return [text.get_text() for text in axes.texts]


def test_without_a_sweep_all_boxes_are_drawn_and_the_caption_says_so(info, content, synthetic_root):
    _, hit = scene_of(info, content, synthetic_root)
    del info["lidar_points"]["lidar_path"]
    scene, ground_truth = scene_of(info, content, synthetic_root)
    assert scene.points.shape == (0, 3)
    assert len(ground_truth) == len(hit) > 0
    page = draw_sample(scene, ground_truth)
    assert "no LiDAR sweep: all ground truth is drawn" in texts(page, "caption")
    shown = draw_calibration(scene, ground_truth)
    points = [c for axes in shown.figure.axes for c in axes.collections]
    assert all(len(c.get_offsets()) == 0 for c in points if isinstance(c, PathCollection))


def test_depth_pages_leave_out_the_lidars_rows_where_there_is_none(make):
    scene = make.scene([0.0])
    without = SimpleNamespace(cameras=scene.cameras, points=np.zeros((0, 3)))
    options = dict(
        pred_depths={"bin": np.full((1, 2, 4), 9.0)}, image_aug=np.eye(3)[None],
        network_size=(200, 400),
    )  # fmt: skip
    for drawn, kinds in ((scene, ("LiDAR", "bin")), (without, ("bin",))):
        panels = [axes.get_label() for axes in draw_depth(drawn, **options).figure.axes]
        assert panels[: len(kinds)] == [f"CAM_0 {kind}" for kind in kinds]
        assert len(panels) == len(kinds) + 1  # and the scale


def test_boxes_with_an_unknown_number_of_points_are_drawn(info, content, synthetic_root):
    for instance in info["instances"]:
        instance["num_lidar_pts"] = instance["num_radar_pts"] = -1
    assert len(scene_of(info, content, synthetic_root)[1]) == len(info["instances"])
    for instance in info["instances"]:
        instance["num_lidar_pts"] = instance["num_radar_pts"] = 0
    assert len(scene_of(info, content, synthetic_root)[1]) == 0


def test_the_caption_counts_classes_that_it_was_not_told(make):
    ground_truth = make.boxes([9, 0, 0, 4, 2, 2, 0], [9, 9, 0, 4, 2, 2, 0], names=("tram", "car"))
    page = draw_sample(make.scene([0.0]), ground_truth, hide_unseen=False)
    names = [text for text in texts(page, "caption") if text in ("tram", "car")]
    assert names == ["car", "tram"]


def test_thirty_classes_fit_into_the_caption(make):
    names = tuple(f"class {i}" for i in range(30))
    ground_truth = make.boxes(*[[9, i, 0, 4, 2, 2, 0] for i in range(30)], names=names)
    page = draw_sample(make.scene([0.0]), ground_truth, hide_unseen=False)
    (caption,) = [axes for axes in page.figure.axes if axes.get_label() == "caption"]
    rows = [text.get_position()[1] for text in caption.texts if text.get_text() in names]
    assert len(rows) == 30 and max(rows) < 1.0


def test_the_wider_view_shows_the_whole_grid(make):
    page = draw_sample(make.scene([0.0]), far=105.2)
    (axes,) = [axes for axes in page.figure.axes if axes.get_label() == "bev"]
    assert axes.get_xlim() == (-105.2, 105.2)


class Numbered:
    """A data set whose tokens are numbers, as KITTI's and Waymo's are."""

    ann_file = "infos.pkl"
    tokens = ("000000", "000001", "000010", "1000050")

    def __len__(self) -> int:
        return len(self.tokens)

    def get_data_info(self, index: int) -> dict:
        return {"token": self.tokens[index]}


def test_tokens_that_are_numbers_are_not_taken_for_a_count():
    assert choose_samples(Numbered(), ["000001"]) == [1]
    assert choose_samples(Numbered(), ["1000050"]) == [3]
    assert choose_samples(Numbered(), ["2"]) == [0, 2]
