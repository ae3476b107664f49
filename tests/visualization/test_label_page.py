"""The picture of a depth label, and the tool that draws it."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest

from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.visualization.depth_page import depth_scale
from bevdepth_plus.visualization.label_page import draw_label
from tests.visualization.test_pointmap_page import rendered
from tools import visualize_labels

SIZE = (40, 80)


def middle(panel: np.ndarray, share: float) -> np.ndarray:
    return panel[panel.shape[0] // 2, int(panel.shape[1] * share)]


def test_a_label_has_the_colour_of_its_metres_and_what_is_masked_is_dark():
    image = np.full((*SIZE, 3), 200, np.uint8)
    label, target, mask = np.full(SIZE, 5.0), np.full(SIZE, 40.0), np.ones(SIZE, bool)
    label[:, 40:] = 0.0
    mask[:, 40:] = False
    page = draw_label(image, label, (label > 0) * 1.5, target, mask)
    colours = (np.array(depth_scale().to_rgba(metres, bytes=True))[:3] for metres in (5.0, 40.0))
    for name, colour in zip(("label", "true depth"), colours, strict=True):
        np.testing.assert_allclose(middle(rendered(page, name), 0.25), colour, atol=3)
    assert middle(rendered(page, "label"), 0.75).max() < 40, "unknown is bare"
    shown = rendered(page, "image")
    assert middle(shown, 0.25).min() > 190 and middle(shown, 0.75).max() < 60


def test_without_true_depth_its_panel_is_left_out():
    page = draw_label(np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE), np.zeros(SIZE))
    assert "true depth" not in {axes.get_label() for axes in page.figure.axes}


def test_a_confidence_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"confidence must have the image's size \(40, 80\)"):
        draw_label(np.zeros((*SIZE, 3), np.uint8), np.zeros(SIZE), np.zeros((4, 8)))


def call(monkeypatch, root, out, *options: str) -> None:
    arguments = ["visualize_labels.py", str(root), "--out", str(out), *options]
    monkeypatch.setattr(sys, "argv", arguments)
    run_tool(visualize_labels.main)


@pytest.fixture
def labelled(tmp_path):
    """A root with three labels of one camera."""
    for number in range(3):
        image = tmp_path / f"samples/CAM_FRONT/{number}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), np.full((*SIZE, 3), 90, np.uint8))
        for folder in ("pointmap_depth", "pointmap_depth_confidence"):
            place = tmp_path / folder / "CAM_FRONT" / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), np.full(SIZE, 500, np.uint16))
    return tmp_path


def test_the_tool_draws_so_many_labels(monkeypatch, labelled):
    call(monkeypatch, labelled, labelled / "out", "--samples", "2")
    assert len(list((labelled / "out").glob("CAM_FRONT_*_label.png"))) == 2


def small_masks(root) -> list[str]:
    place = root / "masks/CAM_FRONT/0.png"
    place.parent.mkdir(parents=True)
    cv2.imwrite(str(place), np.full((4, 8), 255, np.uint8))
    return ["--masks", str(root / "masks")]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda root: ["--labels", "other"], "holds no CAMERA/NAME.png"),
        (lambda root: (root / "samples/CAM_FRONT/0.jpg").unlink(), "has no image 0"),
        (lambda root: ["--masks", str(root / "nowhere")], "0.png does not exist"),
        (small_masks, "the mask is 8 x 4 and its image 0.jpg 80 x 40"),
        (lambda root: ["--samples", "0"], "must be 1 or more"),
    ],
)
def test_what_is_missing_is_named_in_one_line(monkeypatch, capsys, labelled, spoil, said):
    options = spoil(labelled) or []
    with pytest.raises(SystemExit):
        call(monkeypatch, labelled, labelled / "out", *options)
    assert said in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (labelled / "out").exists()
