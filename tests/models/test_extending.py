"""The code on the page "Extending it" runs, and what it adds takes part in a training step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config

PAGE = Path(__file__).resolve().parents[2] / "docs" / "extending.md"
SECTIONS = (
    "A loss",
    "A loss without labels",
    "A backbone",
    "A fisheye camera",
    "A second head",
    "Your own depth prior",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> dict[str, dict]:
    """Section -> the names that its code defines, run in the order of the page."""
    import bevdepth_plus.plugin  # noqa: F401

    names: dict = {"folder": str(tmp_path_factory.mktemp("data"))}
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        title = section.splitlines()[0]
        for block in re.findall(r"```python\n(.*?)```", section, flags=re.S):
            exec(compile(block, f"{PAGE.name}: {title}", "exec"), names)
        found[title] = dict(names)
    return found


def build(page, section, small_config):
    torch.manual_seed(0)
    config = Config(dict(model=small_config()))
    config.merge_from_dict(dict(model=page[section]["model"]))
    return MODELS.build(config.model)


@pytest.mark.parametrize("section", SECTIONS)
def test_what_the_section_adds_trains_and_predicts(page, section, small_config, make_batch):
    model = build(page, section, small_config).train()
    batch = model.data_preprocessor(make_batch(cameras=2), training=True)
    losses = model(**batch, mode="loss")
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    model.eval()
    with torch.no_grad():
        (sample,) = model.test_step(make_batch(cameras=2))
    assert sample.pred_instances_3d.bboxes_3d.tensor.shape[1] == 9


def test_each_addition_shows_where_the_page_says(page, small_config, make_batch):
    def losses_of(section):
        model = build(page, section, small_config).train()
        batch = model.data_preprocessor(make_batch(), training=True)
        return model(**batch, mode="loss")

    def predicted(section):
        model = build(page, section, small_config)
        model.eval()
        with torch.no_grad():
            return model.test_step(make_batch())[0]

    assert "loss_metric_relative" in losses_of("A loss")
    assert "loss_smooth_bin" in losses_of("A loss without labels")
    assert "loss_count" in losses_of("A second head")
    assert isinstance(predicted("A second head").count, float)
    assert list(predicted("Your own depth prior").pred_depths) == ["bin", "road", "fused"]


def test_fisheye_rays_meet_the_pinhole_in_the_middle_and_bend_off_axis(page):
    fisheye_points = page["A fisheye camera"]["fisheye_points"]
    intrinsics = torch.tensor([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]])
    pixels = torch.tensor([[50.0, 50.0], [50.0 + 100 * torch.pi / 4, 50.0]])
    straight, aside = fisheye_points(pixels, torch.tensor([2.0, 2.0]), intrinsics)
    torch.testing.assert_close(straight, torch.tensor([0.0, 0.0, 2.0]))
    torch.testing.assert_close(aside, torch.tensor([2**0.5, 0.0, 2**0.5]))


def test_the_info_file_written_by_hand_is_read(page):
    names = page["A second data set"]
    dataset = DATASETS.build(names["dataset"])
    info = dataset.get_data_info(0)
    assert info["cam_names"] == ["FRONT"]
    boxes = info["ann_info"]["gt_bboxes_3d"]
    torch.testing.assert_close(
        boxes.gravity_center, torch.tensor([[12.0, 1.0, 1.0]]).to(boxes.tensor)
    )
