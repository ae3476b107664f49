"""The picture of a two-view network, and the tool that draws it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.visualization.depth_page import depth_scale
from bevdepth_plus.visualization.pointmap_page import draw_pointmap
from tests.conftest import REPO_ROOT
from tools import visualize_pointmaps

SIZE = (40, 80)


def rendered(page, name: str) -> np.ndarray:
    page.figure.canvas.draw()
    image = np.asarray(page.figure.canvas.buffer_rgba())[..., :3].astype(int)
    (axes,) = (axes for axes in page.figure.axes if axes.get_label() == name)
    left, bottom, right, top = axes.get_window_extent().extents.round().astype(int)
    return image[len(image) - top : len(image) - bottom, left:right]


def test_predicted_and_true_depth_have_the_colour_of_their_metres():
    images = np.zeros((2, *SIZE, 3), np.uint8)
    pred, target = np.full(SIZE, 5.0), np.full(SIZE, 40.0)
    pred[:, 40:] = -1.0  # behind the camera: bare
    page = draw_pointmap(images, pred, target)
    predicted, true = (rendered(page, f"{kind} depth") for kind in ("predicted", "true"))
    for panel, metres in ((predicted, 5.0), (true, 40.0)):
        colour = np.array(depth_scale().to_rgba(metres, bytes=True))[:3]
        middle = panel[panel.shape[0] // 2, panel.shape[1] // 4]
        np.testing.assert_allclose(middle, colour, atol=3)
    bare = predicted[predicted.shape[0] // 2, predicted.shape[1] * 3 // 4]
    assert bare.max() < 40  # the page's dark ground


def test_maps_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"depth must be \(40, 80\)"):
        draw_pointmap(np.zeros((2, *SIZE, 3), np.uint8), np.ones((4, 8)), np.ones(SIZE))


def test_a_config_of_another_model_is_refused_in_one_line(monkeypatch, capsys, tmp_path):
    config = REPO_ROOT / "configs" / "deltas_synthetic_small.py"
    out = tmp_path / "no"
    arguments = ["visualize_pointmaps.py", str(config), "no.pth", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit):
        run_tool(visualize_pointmaps.main)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "trains DepthFromMotion, not pointmaps" in said and not out.exists()
