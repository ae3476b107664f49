"""Where the compiled library cannot serve a device, plain PyTorch does, and the reason is said."""

from __future__ import annotations

import warnings

import pytest
import torch

from bevdepth_plus_ops import native


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU of compute capability 7.0 and a library with CUDA kernels."""
    monkeypatch.setattr(native, "MISSING_REASON", None)
    monkeypatch.setattr(native, "_was_built_for_cuda", lambda: True)
    monkeypatch.setattr(native, "_warned_devices", set())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    native.missing_reason.cache_clear()
    yield torch.device("cuda", 0)
    native.missing_reason.cache_clear()


def test_a_gpu_the_library_was_not_compiled_for_is_named_with_the_remedy(gpu, monkeypatch):
    monkeypatch.setattr(native, "_has_code_for", lambda device: False)
    assert not native.has_kernels(gpu)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        native.warn_once_about_fallback(gpu)
        native.warn_once_about_fallback(gpu)
    (warning,) = caught
    assert "Tesla V100" in str(warning.message)
    assert "TORCH_CUDA_ARCH_LIST=7.0" in str(warning.message)
    assert "cuda:0" in str(warning.message)


def test_a_gpu_the_library_was_compiled_for_is_asked_once(gpu, monkeypatch):
    asked = []
    monkeypatch.setattr(native, "_has_code_for", lambda device: asked.append(device) or True)
    assert native.has_kernels(gpu) and native.has_kernels(gpu)
    assert asked == [gpu]


def test_a_library_without_cuda_kernels_says_so(gpu, monkeypatch):
    monkeypatch.setattr(native, "_was_built_for_cuda", lambda: False)
    assert native.missing_reason(gpu) == "it was built without cuda kernels"


def test_other_devices_are_served_by_plain_pytorch(gpu):
    assert native.missing_reason(torch.device("xpu", 0)) == "it was built without xpu kernels"
