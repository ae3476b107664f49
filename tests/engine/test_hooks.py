from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from bevdepth_plus.engine import autocast, hooks
from bevdepth_plus.engine.hooks import MatchingCheckpointHook, NonFiniteLossHook
from bevdepth_plus.errors import DataError, TrainingError


def test_a_nan_loss_stops_and_names_step_loss_and_sample():
    batch = dict(data_samples=[SimpleNamespace(token="abc")])
    losses = dict(loss_depth=torch.tensor(float("nan")), loss_bbox=torch.tensor(1.0))
    with pytest.raises(TrainingError, match=r"step 7: loss_depth is not finite on .*abc"):
        NonFiniteLossHook().after_train_iter(SimpleNamespace(iter=7), 0, batch, losses)


@pytest.mark.parametrize(
    "batch",
    [
        dict(data_samples=[SimpleNamespace(token="a"), SimpleNamespace(token="b")]),
        dict(token=["a", "b"], images=torch.zeros(2, 3)),
    ],
)
def test_samples_of_a_detector_s_batch_and_of_a_flat_one_have_names(batch):
    assert hooks.tokens_of(batch) == ["a", "b"]


def test_finite_losses_go_on():
    NonFiniteLossHook().after_train_iter(
        SimpleNamespace(iter=0), 0, dict(data_samples=[]), dict(loss=torch.tensor(1.0))
    )


def test_a_checkpoint_of_another_shape_is_refused_by_name():
    runner = SimpleNamespace(model=torch.nn.Linear(2, 3))
    other = dict(state_dict=torch.nn.Linear(4, 3).state_dict())
    with pytest.raises(DataError, match=r"another model: 1 of its tensors .* first weight"):
        MatchingCheckpointHook().after_load_checkpoint(runner, other)


def test_what_the_model_does_not_take_of_a_checkpoint_is_named(monkeypatch):
    said = []
    monkeypatch.setattr(hooks, "print_log", lambda text, **_: said.append(text))
    model = torch.nn.Linear(2, 1)
    weights = {**model.state_dict(), "depth.priors.metric.out.0.weight": torch.ones(1)}
    runner = SimpleNamespace(model=model)
    MatchingCheckpointHook().after_load_checkpoint(runner, {"state_dict": weights})
    (line,) = said
    assert line.endswith("this config's model does not have are left out: depth.priors.metric.out")


def test_a_checkpoint_of_this_model_is_taken():
    model = torch.nn.Linear(2, 3)
    checkpoint = dict(state_dict=model.state_dict())
    MatchingCheckpointHook().after_load_checkpoint(SimpleNamespace(model=model), checkpoint)


@pytest.mark.parametrize(("native", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_autocast_uses_bfloat16_where_the_cpu_has_it(monkeypatch, native, dtype):
    monkeypatch.setattr(autocast, "cpu_has_bfloat16", lambda: native)
    model = torch.nn.Linear(2, 3)
    wrapper = autocast.AutocastOptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
    with wrapper.optim_context(model):
        assert model(torch.ones(1, 2)).dtype == dtype
    assert model.weight.dtype == torch.float32
