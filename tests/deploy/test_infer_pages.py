"""Pages: boxes where the objects are, and a folder that is whole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from bevdepth_plus.deploy.drawing import PageStyle, draw_depth, draw_page
from bevdepth_plus.deploy.picture_folder import PictureFolder
from bevdepth_plus.deploy.results import Boxes, Result
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.grid_axes import GridAxes
from bevdepth_plus.rigs.poses import camera_pose
from bevdepth_plus.rigs.rig import Distortion, Rig, RigCamera

WIDTH, HEIGHT = 480, 270  # a tile's size: a page's pixels are the image's
INTRINSICS = np.array([[300.0, 0, 240], [0, 300, 135], [0, 0, 1]])
STYLE = PageStyle(0.3, GridAxes((-51.2, 51.2, 0.8), (-51.2, 51.2, 0.8), (-5, 3, 8)))


def camera(name: str, yaw: float, **options) -> RigCamera:
    pose = camera_pose((0, 0, 1.5), yaw, 0, 0)
    return RigCamera(name, WIDTH, HEIGHT, INTRINSICS, pose, **options)


def boxes_at(*centres, score: float = 0.9) -> Boxes:
    count = len(centres)
    return Boxes(
        np.array(centres, float).reshape(-1, 3), np.tile([4.0, 2.0, 2.0], (count, 1)),
        np.zeros(count), np.zeros((count, 2)), np.full(count, score),
        np.zeros(count, int), ("car",),
    )  # fmt: skip


def grey(names) -> dict[str, np.ndarray]:
    return {name: np.full((HEIGHT, WIDTH, 3), 128, np.uint8) for name in names}


def drawn(page: np.ndarray) -> np.ndarray:
    """Where the page has the colour of cars, not of text's dark border."""
    return (page[..., 2].astype(int) - page[..., 0]) > 60


def test_a_box_is_drawn_where_the_pinhole_sees_it():
    rig = Rig((camera("FRONT", 0.0),))
    result = Result(boxes_at((12.0, 0.0, 1.5)), cameras=("FRONT",))
    page = draw_page(result, grey(rig.names), rig, STYLE)[:HEIGHT, :WIDTH]
    rows, columns = np.nonzero(drawn(page))
    # The nearest face is 10 m away, 2 m wide: 60 pixels about the middle.
    near = rows > HEIGHT / 2  # without the text, which stands above
    assert (columns[near].min(), columns[near].max()) == pytest.approx((210, 270), abs=2)
    assert rows.max() == pytest.approx(165, abs=2)


def test_a_box_behind_or_below_the_threshold_is_not_drawn():
    rig = Rig((camera("FRONT", 0.0),))
    for boxes in (boxes_at((-12.0, 0, 1.5)), boxes_at((12.0, 0, 1.5), score=0.2), boxes_at()):
        result = Result(boxes, cameras=("FRONT",))
        assert not drawn(draw_page(result, grey(rig.names), rig, STYLE)[:HEIGHT, :WIDTH]).any()


def test_a_box_around_the_camera_is_cut_at_the_near_plane():
    rig = Rig((camera("FRONT", 0.0),))
    result = Result(boxes_at((1.0, 0.0, 1.5)), cameras=("FRONT",))
    page = draw_page(result, grey(rig.names), rig, STYLE)[:HEIGHT, :WIDTH]
    assert 0 < drawn(page).mean() < 0.2


def test_lens_distortion_bends_what_is_drawn():
    bent = Distortion("plumb_bob", (-0.3, 0.05, 0.0, 0.0))
    pages = []
    for options in ({}, {"distortion": bent}):
        rig = Rig((camera("FRONT", 0.0, **options),))
        result = Result(boxes_at((12.0, 6.0, 1.5)), cameras=("FRONT",))
        page = draw_page(result, grey(rig.names), rig, STYLE)[:HEIGHT, :WIDTH]
        pages.append(np.nonzero(drawn(page))[1].min())
    assert pages[0] + 3 < pages[1]  # towards the middle


def test_cameras_ahead_stand_above_from_left_to_right():
    yaws = {"FRONT": 0, "LEFT": 55, "RIGHT": -55, "BACK_RIGHT": -110, "BACK": 180, "BACK_LEFT": 110}
    rig = Rig(tuple(camera(name, yaw) for name, yaw in yaws.items()))
    shades = dict(zip(yaws, (40, 80, 120, 160, 200, 240), strict=True))
    images = {name: np.full((HEIGHT, WIDTH, 3), shade, np.uint8) for name, shade in shades.items()}
    page = draw_page(Result(boxes_at(), cameras=rig.names), images, rig, STYLE)
    assert page.shape[0] == 2 * HEIGHT and page.shape[1] > 3 * WIDTH
    name_of = {shade: name for name, shade in shades.items()}
    shown = [
        [name_of[page[HEIGHT * r + 200, WIDTH * c + 240, 0]] for c in range(3)] for r in range(2)
    ]
    assert shown == [["LEFT", "FRONT", "RIGHT"], ["BACK_LEFT", "BACK", "BACK_RIGHT"]]


def test_the_scene_from_above_has_x_up_and_y_to_the_left():
    rig = Rig((camera("FRONT", 0.0),))
    middles = []
    for centre in ((30.0, 20.0, 1.0), (-30.0, -20.0, 1.0)):
        page = draw_page(Result(boxes_at(centre), cameras=()), {}, rig, STYLE)[:, WIDTH:]
        scene = drawn(page)[46:-30]  # without title and legend
        middles.append([where.mean() for where in np.nonzero(scene)])
    (up, left), (down, right) = middles
    assert up < down and left < right
    # 60 m and 40 m apart, at one scale
    assert (down - up) / (right - left) == pytest.approx(1.5, abs=0.05)


def test_a_missing_camera_says_why():
    rig = Rig((camera("FRONT", 0.0),))
    result = Result(boxes_at(), missing={"FRONT": "camera FRONT: image cannot be decoded"})
    page = draw_page(result, {}, rig, STYLE)[:HEIGHT, :WIDTH]
    assert len(np.unique(page[100:170])) > 2  # text on a flat tile


def test_near_depth_is_red_and_far_depth_is_blue():
    rig = Rig((camera("FRONT", 0.0),))
    depth = np.full((16, 44), 55.0, np.float32)
    depth[:, :22] = 1.5
    page = draw_depth(Result(boxes_at(), depth={"FRONT": depth}), rig)
    near, far = page[100, 100].astype(int), page[100, 400].astype(int)
    assert near[0] > near[2] + 50 and far[2] > far[0]


def test_a_folder_of_pages_appears_when_it_is_closed(tmp_path):
    rig = Rig((camera("FRONT", 0.0),))
    folder = PictureFolder(tmp_path / "pictures", rig, STYLE)
    depth = {"FRONT": np.ones((16, 44), np.float32)}
    folder.write(Result(boxes_at(), cameras=("FRONT",), depth=depth), grey(rig.names), "abc")
    assert not (tmp_path / "pictures").exists()
    folder.close()
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["00000_abc.jpg", "00000_abc_depth.jpg"]
    assert cv2.imread(str(tmp_path / "pictures" / names[0])).shape[0] == 540
    again = PictureFolder(tmp_path / "pictures", rig, STYLE)  # the pages of an earlier run
    again.discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pictures"]


def test_pictures_of_somebody_else_are_not_replaced(tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "holidays.jpg").write_text("sea")
    with pytest.raises(DataError, match="holds other files than this tool's pictures"):
        PictureFolder(tmp_path / "pictures", Rig((camera("FRONT", 0.0),)), STYLE)
