"""The work-arounds do what they say, and no more."""

from __future__ import annotations

import io
import re
import socket
import zipfile

import numpy as np
import pytest
import torch
import torch.distributed as torch_dist

pytest.importorskip("mmengine")
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODEL_WRAPPERS

from bevdepth_plus.compat import allow_mmengine_checkpoints, init_cpu_process_group


@pytest.fixture(autouse=True)
def restored_safe_globals():
    """Allow-listing is a state of the process: start from torch's own list, give back what was."""
    before = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def saved(content: object) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(content, file)
    file.seek(0)
    return file


def message_hub_state() -> dict:
    """What mmengine's runner puts into every checkpoint, with each kind of value it may hold."""
    hub = MessageHub("test_compat")
    hub.update_scalar("train/loss", 0.5)
    hub.update_scalar("train/grad_norm", torch.tensor(2.0))
    hub.update_scalar("train/lr", np.float64(1e-3))
    hub.update_info("iter", 7)
    hub.update_info("best_score", np.float32(0.25))
    return hub.state_dict()


def test_a_checkpoint_with_a_message_hub_loads_once_allowed():
    content = {"message_hub": message_hub_state(), "state_dict": {"weight": torch.ones(2)}}
    with pytest.raises(Exception, match="HistoryBuffer"):
        torch.load(saved(content), weights_only=True)

    allow_mmengine_checkpoints()
    loaded = torch.load(saved(content), weights_only=True)

    buffer = loaded["message_hub"]["log_scalars"]["train/loss"]
    assert buffer.current() == 0.5
    assert buffer.statistics("mean", 1) == 0.5
    assert loaded["message_hub"]["runtime_info"]["best_score"] == np.float32(0.25)


@pytest.mark.parametrize("core", [b"numpy.core.", b"numpy._core."])
def test_a_checkpoint_written_with_numpy_1_or_2_loads_with_either(core):
    written = io.BytesIO()
    with zipfile.ZipFile(saved(message_hub_state())) as ours, zipfile.ZipFile(written, "w") as file:
        for name in ours.namelist():
            file.writestr(name, re.sub(rb"numpy\._?core\.", core, ours.read(name)))
    assert core in written.getvalue()
    allow_mmengine_checkpoints()
    written.seek(0)
    loaded = torch.load(written, weights_only=True)
    assert loaded["runtime_info"]["best_score"] == np.float32(0.25)


def test_a_class_nobody_allowed_is_still_refused():
    allow_mmengine_checkpoints()
    with pytest.raises(Exception, match="socket"):
        torch.load(saved({"x": socket.AddressFamily.AF_INET}), weights_only=True)


def test_getattr_in_a_checkpoint_reaches_only_the_statistics():
    class Sneaky:
        def __reduce__(self):
            return getattr, (HistoryBuffer, "__init__")

    allow_mmengine_checkpoints()
    with pytest.raises(ValueError, match="do not trust the file"):
        torch.load(saved({"x": Sneaky()}), weights_only=True)


def test_torchrun_on_a_cpu_gets_gloo_and_a_wrapper_without_device_ids(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is there: mmengine's own way is right")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in dict(
        RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, MASTER_ADDR="127.0.0.1", MASTER_PORT=port
    ).items():
        monkeypatch.setenv(name, str(value))
    cfg = Config(dict(find_unused_parameters=True))

    init_cpu_process_group(cfg, "pytorch")
    try:
        assert torch_dist.get_backend() == "gloo"
        # as Runner.wrap_model builds it: device_ids is a default there, the config's None wins
        default_args = dict(device_ids=[0], module=torch.nn.Linear(1, 1))
        wrapped = MODEL_WRAPPERS.build(cfg.model_wrapper_cfg, default_args=default_args)
        assert isinstance(wrapped, MMDistributedDataParallel)
        assert wrapped.device_ids is None
        assert wrapped.find_unused_parameters
    finally:
        torch_dist.destroy_process_group()


def test_without_torchrun_nothing_is_started():
    cfg = Config(dict())
    init_cpu_process_group(cfg, "none")
    assert not torch_dist.is_initialized()
    assert "model_wrapper_cfg" not in cfg


def test_a_one_cycle_schedule_resumes():
    from mmengine.optim import OneCycleLR

    def schedule():
        optimizer = torch.optim.SGD(torch.nn.Linear(1, 1).parameters(), lr=0.1)
        return OneCycleLR(optimizer, eta_max=0.1, total_steps=10, by_epoch=False)

    allow_mmengine_checkpoints()
    state = torch.load(saved({"param_schedulers": [schedule().state_dict()]}), weights_only=True)
    resumed = schedule()
    resumed.load_state_dict(state["param_schedulers"][0])
    resumed.step()
