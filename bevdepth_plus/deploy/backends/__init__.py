"""What runs a model: one class a runtime, with the three steps of ``features.Backend``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bevdepth_plus.deploy.features import Backend
from bevdepth_plus.errors import DataError

BACKENDS = ("torch", "onnx", "openvino")


def open_backend(
    model: str | Path, checkpoint: str | Path | None = None, name: str = "auto", **options: Any
) -> Backend:
    """The backend of that name for a model.

    Args:
        model: folder of exported files, or a config file.
        checkpoint: of the config; exported files have none.
        name: one of ``BACKENDS``. ``auto``: torch for a config; for exported files OpenVINO if it
            is installed and runs them, else onnxruntime.
        options: of the backend. ``precision`` (fp32, bf16, fp16) has the same names in all of them.

    Raises:
        DataError: the model is of another kind than the backend runs, or the backend has no such
            precision.
    """
    path = Path(model)
    if name not in ("auto", *BACKENDS):
        raise DataError(f"backend must be auto or one of {', '.join(BACKENDS)}, got {name!r}")
    if not path.is_dir():
        return _torch(path, checkpoint, name, options)
    if checkpoint is not None:
        raise DataError(
            f"{path} is a folder of exported files, they have no checkpoint; leave it out"
        )
    if name == "torch":
        raise DataError(
            f"{path} is a folder of exported files; torch runs a config and a checkpoint"
        )
    if name == "auto":
        name = "openvino" if find_spec("openvino") and _runs_in_openvino(path) else "onnx"
    options = _of_exported(name, options)
    if name == "openvino":
        from bevdepth_plus.deploy.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(path, **options)
    from bevdepth_plus.deploy.backends.onnx import OnnxBackend

    return OnnxBackend(path, **options)


def _torch(config: Path, checkpoint: str | Path | None, name: str, options: dict) -> Backend:
    if name in ("onnx", "openvino"):
        raise DataError(
            f"{name} runs exported files and {config} is no folder; write one with "
            "tools/export_onnx.py"
        )
    if checkpoint is None:
        raise DataError(f"{config} is no folder of exported files, and a config needs a checkpoint")
    if find_spec("torch") is None:
        raise DataError(
            f"{config} runs in PyTorch, which is not installed; export the model where it is, with "
            "tools/export_onnx.py, and give the folder here"
        )
    from bevdepth_plus.deploy.backends.torch import TorchBackend

    return TorchBackend(config, checkpoint, **options)


def _of_exported(name: str, options: dict) -> dict:
    """The options as the runtime knows them."""
    options = dict(options)
    if options.pop("device", None) not in (None, "auto", "cpu"):
        raise DataError(f"{name} runs on the CPU; leave out --device")
    precision = options.pop("precision", "fp32")
    if name == "openvino":
        return {**options, "precision": {"fp32": "f32"}.get(precision, precision)}
    if precision != "fp32":
        raise DataError(
            f"{name} runs fp32 alone; {precision} needs OpenVINO (an export with --form parts) or "
            "a config and its checkpoint"
        )
    return options


def _runs_in_openvino(folder: Path) -> bool:
    from bevdepth_plus.deploy.description import read_description

    model = read_description(folder)
    return model.form == "parts" and model.deformable != "DeformConv"
