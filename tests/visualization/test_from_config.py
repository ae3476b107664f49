from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from bevdepth_plus.errors import DataError
from bevdepth_plus.visualization.from_config import build_model, choose_samples, depth_maps


@dataclass
class FakeDataset:
    tokens: list[str]
    ann_file: str = "infos.pkl"

    def __len__(self) -> int:
        return len(self.tokens)

    def get_data_info(self, index: int) -> dict:
        return {"token": self.tokens[index]}


def resnet(depth: int) -> Config:
    return Config(dict(model=dict(type="mmdet.ResNet", depth=depth, base_channels=8)))


def test_a_number_of_samples_is_spread_over_the_data_set():
    dataset = FakeDataset([str(i) for i in range(10)])
    assert choose_samples(dataset, ["3"]) == [0, 3, 6]
    assert choose_samples(dataset, ["50"]) == list(range(10))


def test_samples_are_found_by_token_in_the_order_asked_for():
    dataset = FakeDataset(["a", "b", "c"])
    assert choose_samples(dataset, ["c", "a"]) == [2, 0]


def test_an_unknown_token_is_named():
    with pytest.raises(DataError, match=r"sample x is not in infos\.pkl"):
        choose_samples(FakeDataset(["a"]), ["x"])


def test_a_checkpoint_fills_its_own_model_and_no_other(tmp_path):
    cpu = torch.device("cpu")
    path = str(tmp_path / "weights.pth")
    torch.manual_seed(0)
    from mmdet.models.backbones import ResNet

    weights = ResNet(depth=18, base_channels=8).state_dict()
    torch.save({"state_dict": weights, "meta": {}}, path)
    model = build_model(resnet(18), path, cpu)
    assert not model.training
    assert torch.equal(model.conv1.weight, weights["conv1.weight"])
    with pytest.raises(DataError, match="is of another model"):
        build_model(resnet(34), path, cpu)


def test_a_missing_checkpoint_is_named():
    with pytest.raises(DataError, match=r"checkpoint nowhere\.pth does not exist"):
        build_model(resnet(18), "nowhere.pth", torch.device("cpu"))


def test_the_depth_that_places_features_is_the_fused_one_where_there_is_one():
    maps = {name: torch.full((1, 2, 2), value) for name, value in (("bin", 1.0), ("metric", 2.0))}
    assert list(depth_maps(SimpleNamespace(pred_depths=maps))) == ["bin"]
    maps["fused"] = torch.full((1, 2, 2), 3.0)
    (depth,) = depth_maps(SimpleNamespace(pred_depths=maps)).values()
    assert depth.max() == 3
    assert list(depth_maps(SimpleNamespace(pred_depths=maps), every=True)) == [*maps]
