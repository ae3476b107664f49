from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from bevdepth_plus.datasets.correspondence_checks import Reason
from bevdepth_plus.visualization.correspondence_page import (
    LEGEND,
    MatchedFrames,
    draw_correspondences,
    matched_frames,
)

HEIGHT, WIDTH, STRIDE = 64, 160, 8


def camera(name: str = "CAM_FRONT", **changes) -> MatchedFrames:
    """All kept and moved by (12, -4), but for the left half, which is far."""
    v, u = np.mgrid[: HEIGHT // STRIDE, : WIDTH // STRIDE] * float(STRIDE) + STRIDE / 2
    reasons = np.full(u.shape, Reason.KEPT, dtype=np.uint8)
    reasons[:, :10] = Reason.FAR
    grey = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    key_pixels = np.stack([u + 12, v - 4])
    parts = dict(name=name, past=grey, key=grey, key_pixels=key_pixels, reasons=reasons)
    return MatchedFrames(**{**parts, **changes})


def panel(page, name: str):
    (axes,) = [axes for axes in page.figure.axes if axes.get_label() == name]
    return axes


def test_every_reason_has_a_colour_and_words():
    assert set(LEGEND) == set(Reason)


def test_what_is_left_out_has_the_colour_of_its_reason_and_the_rest_none():
    axes = panel(draw_correspondences([camera()]), "CAM_FRONT past")
    tint = axes.images[1].get_array()
    assert tint.shape == (HEIGHT // STRIDE, WIDTH // STRIDE, 4)
    assert (tint[:, 10:, 3] == 0).all() and (tint[:, :10, 3] > 0).all()
    np.testing.assert_allclose(tint[0, 0, :3], to_rgba(LEGEND[Reason.FAR][0])[:3])


def test_kept_ones_are_lines_from_where_they_were_to_where_they_are():
    axes = panel(draw_correspondences([camera()]), "CAM_FRONT key")
    segments = np.array(axes.collections[-2].get_segments())
    assert len(segments) > 10 and (segments[:, 0, 0] >= WIDTH / 2).all()
    np.testing.assert_allclose(segments[:, 1] - segments[:, 0], [[12, -4]] * len(segments))
    np.testing.assert_allclose(axes.collections[-1].get_offsets(), segments[:, 1])


def test_the_legend_names_what_occurs_with_its_share():
    page = draw_correspondences([camera(), camera("CAM_BACK")])
    words = [text.get_text() for text in panel(page, "legend").texts]
    assert words == ["kept 50%", "far 50%"]
    assert "50% kept" in panel(page, "CAM_BACK past").texts[0].get_text()


def test_a_camera_without_any_kept_one_is_drawn():
    none = camera(reasons=np.full((8, 20), Reason.NO_PAST, dtype=np.uint8))
    page = draw_correspondences([none])
    assert [text.get_text() for text in panel(page, "legend").texts] == ["no past frame 100%"]


@pytest.mark.parametrize("number", [1, 3])
def test_the_page_has_a_row_a_camera(tmp_path, number):
    page = draw_correspondences([camera(f"C{index}") for index in range(number)])
    path = page.save(tmp_path / "flow.png")
    assert path.stat().st_size > 1000
    assert len(page.figure.axes) == 2 * number + 1


def test_frames_come_from_what_the_transform_gives():
    images = [np.full((4, 6, 3), value, dtype=np.uint8) * [1, 2, 3] for value in range(4)]
    results = {
        "cam_names": ["A", "B"],
        "img": images,
        "correspondence": np.arange(2 * 2 * 1 * 2.0).reshape(1, 2, 2, 1, 2),
        "correspondence_reason": np.arange(4).reshape(1, 2, 1, 2),
    }
    second = matched_frames(results)[1]
    assert second.name == "B"
    assert second.key[0, 0].tolist() == [3, 2, 1] and second.past[0, 0].tolist() == [9, 6, 3]
    assert second.key_pixels.tolist() == [[[4.0, 5.0]], [[6.0, 7.0]]]
    assert second.reasons.tolist() == [[2, 3]]
