"""Colours, shadows and the painted ground."""

from __future__ import annotations

import numpy as np
import pytest

from bevdepth_plus.synthetic.backdrop import cast_shadows, cloud_tile, ground_levels
from bevdepth_plus.synthetic.mesh import Material, Mesh, MeshBuilder
from bevdepth_plus.synthetic.render import CameraView, find_visible
from bevdepth_plus.synthetic.road import Road
from bevdepth_plus.synthetic.scenery import ground_picture
from bevdepth_plus.synthetic.shade import colour_image, pack_light

POSE = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.5], [0, 0, 0, 1]])
VIEW = CameraView(np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]]), 100, 80, POSE)
WHITE, BLUE = np.ones(3), np.array([0.3, 0.5, 0.9])


def _wall(x: float, colour: tuple[float, float, float], material: Material) -> Mesh:
    b = MeshBuilder()
    b.face([(x, -1, 0.5), (x, 1, 0.5), (x, 1, 2.5), (x, -1, 2.5)], colour, material)
    return b.build()


def _shoot(mesh: Mesh, sun: tuple[float, float, float], shade: int = 0) -> np.ndarray:
    light = pack_light(np.array(sun) / np.linalg.norm(sun), 0.6 * WHITE, 0.4 * WHITE, BLUE, WHITE)
    ground = ground_levels(np.full((64, 64, 3), 128, np.uint8))
    shadow = (np.full((2000, 2000), shade, np.uint8), np.array([-100.0, -100.0]))
    clear = np.zeros((8, 8), np.float32)
    return colour_image(mesh, find_visible(mesh, VIEW, 0), VIEW, ground, 0.1, shadow, clear, light)


def test_a_red_wall_is_red_and_brighter_in_the_sun() -> None:
    wall = _wall(10.0, (0.8, 0.1, 0.1), Material.MATTE)
    lit, unlit = (_shoot(wall, sun)[40, 50].astype(int) for sun in ((-1, 0, 1), (1, 0, 1)))
    assert lit[0] > 2 * lit[1] and lit[0] > 2 * lit[2]
    assert lit[0] > 1.5 * unlit[0]


def test_a_lamp_shines_the_same_wherever_the_sun_stands() -> None:
    lamp = _wall(10.0, (0.9, 0.05, 0.05), Material.LAMP)
    np.testing.assert_array_equal(_shoot(lamp, (-1, 0, 1))[40, 50], _shoot(lamp, (1, 0, 1))[40, 50])


def test_haze_fades_what_is_far_away() -> None:
    contrast = []
    for x in (5.0, 15.0):
        pixel = _shoot(_wall(x, (0.8, 0.1, 0.1), Material.LAMP), (-1, 0, 1))[40, 50].astype(int)
        contrast.append(pixel[0] - pixel[1])
    assert contrast[0] > contrast[1] > 0.9 * contrast[0]


def test_shaded_ground_is_darker_and_the_sky_is_bluer_than_the_horizon() -> None:
    wall = _wall(10.0, (1, 1, 1), Material.MATTE)
    sunny, shaded = _shoot(wall, (0, 1, 1)), _shoot(wall, (0, 1, 1), shade=255)
    assert (shaded[70, 50] < 0.75 * sunny[70, 50]).all()
    np.testing.assert_array_equal(sunny[:30], shaded[:30])
    sky = sunny.astype(int)
    assert sky[0, 0, 2] - sky[0, 0, 0] > sky[38, 0, 2] - sky[38, 0, 0] + 30


def test_edges_are_smoothed() -> None:
    b = MeshBuilder()
    b.face([(10, 0, 0.5), (10, 2, 0.7), (10, 2, 2.9), (10, 0, 2.5)], (1, 0, 0), Material.LAMP)
    row = _shoot(b.build(), (-1, 0, 1))[:, 35, 1].astype(int)
    steps = np.abs(np.diff(row))
    assert ((steps > 10) & (steps < 0.9 * (row.max() - row.min()))).any()


def test_a_shadow_falls_away_from_the_sun() -> None:
    b = MeshBuilder()
    b.box((4, 5), (4, 5), (0, 2), (1, 1, 1))
    sun = np.array([1.0, 0.0, 1.0]) / np.sqrt(2)  # from +x, at 45 degrees
    shaded = np.zeros((100, 100), np.uint8)
    cast_shadows(b.build(), sun, shaded, np.zeros(2), 0.1)
    rows, columns = np.nonzero(shaded)
    # 2 m high: the shadow reaches 2 m beyond the box, towards -x
    assert (columns.min(), columns.max()) == (20, 49)
    assert (rows.min(), rows.max()) == (40, 49)
    assert shaded.sum() == 255 * 30 * 10


def test_clouds_repeat_without_a_seam() -> None:
    for seed in range(20):
        tile = cloud_tile(seed)
        if tile.std() > 0.05:
            break
    inner = np.abs(np.diff(tile, axis=1)).max()
    assert np.abs(tile[:, 0] - tile[:, -1]).max() <= 1.5 * inner


def test_the_ground_is_painted_where_the_road_is() -> None:
    road = Road(-30.0, 30.0, 2, np.random.default_rng(0))
    picture = ground_picture(road, 0, 0.1).astype(float)

    def colour(d: float) -> np.ndarray:
        s = np.arange(-20.0, -8.0, 0.5)
        x, y, _ = road.locate(s, np.full_like(s, d))
        return picture[(y / 0.1).astype(int), (x / 0.1).astype(int)].mean(axis=0)

    asphalt, marking, grass = colour(1.75), colour(0.15), colour(road.sidewalk_end + 4)
    assert np.ptp(asphalt) < 12 and asphalt.mean() < 110
    assert marking[0] > marking[2] + 60  # yellow
    assert grass[1] > grass[2] + 20  # green


def test_a_face_needs_three_to_eight_points() -> None:
    with pytest.raises(ValueError, match="3 to 8 vertices, got 2"):
        MeshBuilder().face([(0, 0, 0), (1, 0, 0)], (1, 1, 1))
