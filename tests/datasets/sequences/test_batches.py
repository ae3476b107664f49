"""From a config to the network's input."""

from __future__ import annotations

import torch
from mmdet3d.registry import DATASETS
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.geometry.rigid import invert_rigid
from bevdepth_plus.triangulation.points import Views
from tests.triangulation.test_network import small_network


def test_two_layouts_in_one_batch_go_through_the_network(write):
    config = dict(
        type="SequenceDataset",
        sources=[write("scannet"), write("tum")],
        final_dim=(64, 96),
        num_views=3,
    )
    dataset = DATASETS.build(config)
    assert len(dataset) == 12
    loader = DataLoader(dataset, batch_size=2, sampler=[0, 6], collate_fn=default_collate)
    (batch,) = loader
    assert batch["token"] == ["scene0000_00/0", "rgbd_dataset_desk/1305031102.000000"]
    assert batch["depth"].shape == (2, 64, 96) and batch["depth"].dtype == torch.float32
    images = batch["images"].float() / 127.5 - 1
    views = Views(images, batch["intrinsics"], invert_rigid(batch["anchor_T_source"]))
    with torch.no_grad():
        found = small_network().eval()(views)
    assert found.depths[0].shape == (2, 1, 64, 96)
    assert found.points.matches.usable.any()  # the sources see what the anchor sees


def test_sources_bring_the_depth_that_they_have_as_anchors(write):
    config = dict(type="SequenceDataset", sources=[write("tum")], final_dim=(48, 64), num_views=2)
    plain, both = DATASETS.build(config), DATASETS.build({**config, "source_depth": True})
    assert "source_depths" not in plain[0] and len(both) == len(plain)
    sample = both[0]
    assert sample["source_tokens"] == [both[1]["token"]]
    assert torch.equal(sample["source_depths"], both[1]["depth"][None])
    assert torch.equal(sample["images"], plain[0]["images"])


def test_steps_of_a_pipeline_come_after_loading(write):
    def near(sample: dict) -> dict:
        return {**sample, "near": sample["depth"].max()}

    config = dict(
        type="SequenceDataset", sources=[write("tum")], final_dim=(48, 64), pipeline=[near]
    )
    assert 1 < DATASETS.build(config)[0]["near"] < 4
