from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from bevdepth_plus.visualization import style
from bevdepth_plus.visualization.bev_view import draw_bev
from bevdepth_plus.visualization.camera_view import draw_camera
from bevdepth_plus.visualization.depth_page import draw_depth, place_in_image
from bevdepth_plus.visualization.layout import Page, camera_rows
from bevdepth_plus.visualization.sample_page import draw_sample
from bevdepth_plus.visualization.scene import hit_by_points

NUSCENES_AZIMUTHS = {
    "FRONT": 0.3,
    "FRONT_RIGHT": -56.0,
    "FRONT_LEFT": 55.0,
    "BACK": 180.0,
    "BACK_LEFT": 108.0,
    "BACK_RIGHT": -110.0,
}


def rendered(page: Page) -> np.ndarray:
    page.figure.canvas.draw()
    return np.asarray(page.figure.canvas.buffer_rgba())[..., :3].astype(int)


def is_colour(image: np.ndarray, colour: str) -> np.ndarray:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return np.abs(image - rgb).max(axis=-1) < 40


def test_a_box_is_drawn_at_its_pixels_in_its_colour(make):
    page = Page(400, 200)
    ground_truth, predictions = (make.boxes([10, y, 0, 2, 2, 2, 0]) for y in (0, 4))
    draw_camera(page.panel(0, 0, 400, 200, "camera"), make.camera(), ground_truth, predictions)
    image = rendered(page)
    # The near face's left edge runs at u = 200 - 200/9, rows 78 to 122.
    assert is_colour(image, style.GROUND_TRUTH_COLOUR)[90:110, 175:181].any(axis=1).all()
    assert not is_colour(image, style.GROUND_TRUTH_COLOUR)[:, :170].any()
    # 4 m to the left at 9 m distance: 89 px to the left.
    assert is_colour(image, style.PREDICTION_COLOUR)[90:110, 86:92].any(axis=1).all()
    assert not is_colour(image, style.PREDICTION_COLOUR)[:, 200:].any()


def test_a_box_behind_the_camera_leaves_no_line(make):
    with_box, without = Page(400, 200), Page(400, 200)
    behind = make.boxes([-10, 0, 0, 2, 2, 2, 0])
    draw_camera(with_box.panel(0, 0, 400, 200, "camera"), make.camera(), behind)
    draw_camera(without.panel(0, 0, 400, 200, "camera"), make.camera())
    np.testing.assert_array_equal(rendered(with_box), rendered(without))


def test_from_above_ahead_is_up_and_left_is_left(make):
    page = Page(200, 200)
    ground_truth = make.boxes([30, 20, 0, 4, 2, 2, 0])
    axes = page.panel(0, 0, 200, 200, "bev")
    draw_bev(axes, np.zeros((0, 3)), ground_truth, reach=50, ring_step=20)
    rows, columns = np.nonzero(is_colour(rendered(page), style.GROUND_TRUTH_COLOUR))
    # 2 px a metre: 30 m ahead is row 40, 20 m to the left is column 60.
    assert abs(rows.mean() - 40) < 3 and abs(columns.mean() - 60) < 3


def test_from_above_the_heading_line_ends_at_the_front(make):
    page = Page(400, 400)
    axes = page.panel(0, 0, 400, 400, "bev")
    facing_left = make.boxes([0, 10, 0, 8, 4, 2, np.pi / 2])
    draw_bev(axes, np.zeros((0, 3)), facing_left, reach=20, ring_step=50)
    drawn = is_colour(rendered(page), style.GROUND_TRUTH_COLOUR)
    # The centre lies at column 100, the front at 60, the rear at 140 (10 px a metre).
    assert drawn[198:203, 70:95].any(axis=0).all()
    assert not drawn[198:203, 105:135].any()


def test_from_above_an_arrow_ends_where_the_box_will_be_in_a_second(make):
    page = Page(800, 800)
    axes = page.panel(0, 0, 800, 800, "bev")
    to_the_left = [0, 0, 0, 4, 2, 2, 0, 0, 10]
    parked, unknown = [0, -10, 0, 4, 2, 2, 0, 0, 0.1], [9, -10, 0, 4, 2, 2, 0, np.nan, np.nan]
    boxes = make.boxes(to_the_left, parked, unknown)
    draw_bev(axes, np.zeros((0, 3)), boxes, reach=20, ring_step=50)
    drawn = is_colour(rendered(page), style.GROUND_TRUTH_COLOUR)
    # The box lies at column 400, its end at 200 (20 px a metre).
    assert drawn[398:403, 206:370].any(axis=0).all()
    assert not drawn[:, :196].any()
    assert not drawn[:, 624:].any()


def test_from_above_what_stands_still_has_no_arrow(make):
    parked = [0, -10, 0, 4, 2, 2, 0, 0, 0.1]
    pages = Page(800, 800), Page(800, 800)
    for page, boxes in zip(pages, (make.boxes(parked), make.boxes(parked[:7])), strict=True):
        axes = page.panel(0, 0, 800, 800, "bev")
        draw_bev(axes, np.zeros((0, 3)), boxes, reach=20, ring_step=50)
    np.testing.assert_array_equal(rendered(pages[0]), rendered(pages[1]))


def test_six_cameras_stand_as_one_sits_in_the_car(make):
    scene = make.scene(NUSCENES_AZIMUTHS.values())
    names = dict(zip((c.name for c in scene.cameras), NUSCENES_AZIMUTHS, strict=True))
    rows = [[names[camera.name] for camera in row] for row in camera_rows(scene.cameras)]
    assert rows == [["FRONT_LEFT", "FRONT", "FRONT_RIGHT"], ["BACK_LEFT", "BACK", "BACK_RIGHT"]]


@pytest.mark.parametrize(
    ("azimuths", "per_row"),
    [
        ([0], [1]),
        ([180], [1]),
        ([90, 45, 0, -45, -90], [5]),
        ([60, 0, -60, 120, -120], [3, 2]),
        ([80, 40, 0, -40, -80, 150, -150], [5, 2]),
    ],
)
def test_any_number_of_cameras_makes_a_page_without_overlap(make, azimuths, per_row, tmp_path):
    sizes = [(200, 400), (300, 300), (240, 320), (400, 200), (200, 400), (100, 400), (200, 400)]
    scene = make.scene(azimuths, sizes[: len(azimuths)])
    assert [len(row) for row in camera_rows(scene.cameras)] == per_row
    page = draw_sample(scene, make.boxes([10, 0, 0, 4, 2, 2, 0]), hide_unseen=False)
    names = [axes.get_label() for axes in page.figure.axes]
    assert sorted(names) == sorted([*(c.name for c in scene.cameras), "caption", "bev", "bev near"])
    boxes = [axes.get_position() for axes in page.figure.axes]
    for index, box in enumerate(boxes):
        assert 0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1
        assert not any(box.overlaps(other) for other in boxes[:index])
    image = cv2.imread(str(page.save(tmp_path / "sample.png")))
    assert image.shape == (page.height, page.width, 3)


def test_two_runs_write_the_same_bytes(make, tmp_path):
    for name in ("a.png", "b.png"):
        draw_sample(make.scene([0, 180])).save(tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_predictions_below_the_threshold_are_left_out(make):
    scene = make.scene([0])
    predictions = make.boxes([10, 2, 0, 2, 2, 2, 0], [10, -2, 0, 2, 2, 2, 0], scores=[0.2, 0.8])
    texts = all_texts(draw_sample(scene, None, predictions, score_threshold=0.5))
    assert "car 0.80" in texts and "car 0.20" not in texts


def test_ground_truth_without_lidar_points_is_left_out_unless_asked_for(make):
    scene = make.scene([0])
    boxes = make.boxes(
        [*scene.points[0], 1, 1, 1, 0], [100, 0, 0, 1, 1, 1, 0], names=("bus", "car")
    )
    assert hit_by_points(boxes, scene.points).tolist() == [True, False]
    assert "car" not in all_texts(draw_sample(scene, boxes))
    assert "car" in all_texts(draw_sample(scene, boxes, hide_unseen=False))


def test_a_sample_without_any_object_or_point_is_drawn(make, tmp_path):
    empty = make.scene([0])
    empty = type(empty)(empty.cameras, np.zeros((0, 3)), empty.facts)
    none = make.boxes(scores=[])
    assert draw_sample(empty, make.boxes(), none).save(tmp_path / "empty.png").is_file()


def test_depth_panels_stand_below_each_other_for_comparison(make, tmp_path):
    scene = make.scene([0, 180])
    depths = {"bin": np.full((2, 4, 8), 20.0), "metric": np.full((2, 4, 8), 21.0)}
    page = draw_depth(scene, depths, np.stack([np.eye(3)] * 2), (200, 400))
    position_of = {axes.get_label(): axes.get_position() for axes in page.figure.axes}
    for camera in ("CAM_0", "CAM_1"):
        panels = [position_of[f"{camera} {kind}"] for kind in ("LiDAR", "bin", "metric")]
        for upper, lower in pairwise(panels):
            assert upper.x0 == lower.x0 and upper.y0 >= lower.y1
    assert "scale" in position_of
    assert page.save(tmp_path / "depth.png").is_file()


def test_depth_of_the_lidar_alone_needs_no_model(make):
    labels = [axes.get_label() for axes in draw_depth(make.scene([0])).figure.axes]
    assert labels == ["CAM_0 LiDAR", "scale"]


def test_a_prediction_without_its_place_is_refused(make):
    with pytest.raises(ValueError, match="need image_aug and network_size"):
        draw_depth(make.scene([0]), {"bin": np.ones((1, 2, 2))})


def test_cells_land_on_the_pixels_that_the_network_saw():
    # The network saw the image halved, without its upper 20 rows of network pixels.
    image_aug = np.array([[0.5, 0, 0], [0, 0.5, -20], [0, 0, 1]])
    cells = np.arange(8.0).reshape(2, 4)
    placed = place_in_image(cells, image_aug, network_size=(20, 40), image_size=(80, 80))
    assert np.isnan(placed[:40]).all(), "cut off, so unknown"
    # Cells are 10 network pixels, so 20 image pixels wide.
    np.testing.assert_array_equal(placed[40:60, ::20], np.tile(cells[0], (20, 1)))
    np.testing.assert_array_equal(placed[79, 19::20], cells[1])


def all_texts(page: Page) -> set[str]:
    return {text.get_text() for axes in page.figure.axes for text in axes.texts}
