"""Official DUSt3R and MASt3R weights -> ours, and files of our own.

Every official name is used, or known to be unused; every parameter of ours is filled.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_write
from bevdepth_plus.pointmaps.two_view import TwoViewConfig, TwoViewModel
from bevdepth_plus.weights import load_exactly

# (pattern of a part of the official name, ours); all that match apply, in this order.
_RENAMES = (
    (r"^patch_embed\.proj\.", "encoder.patch_embed."),
    (r"^enc_blocks\.", "encoder.blocks."),
    (r"^enc_norm\.", "encoder.norm."),
    (r"^decoder_embed\.", "decoder.project."),
    (r"^dec_blocks\.", "decoder.blocks1."),
    (r"^dec_blocks2\.", "decoder.blocks2."),
    (r"^dec_norm\.", "decoder.norm."),
    (r"\.attn\.proj\.", ".attention.out."),
    (r"\.attn\.qkv\.", ".attention.qkv."),
    (r"\.cross_attn\.proj([qkv])\.", r".cross_attention.proj\1."),
    (r"\.projq\.", ".queries."),
    (r"\.projk\.", ".keys."),
    (r"\.projv\.", ".values."),
    (r"\.cross_attn\.proj\.", ".cross_attention.out."),
    (r"\.norm_y\.", ".norm_other."),
    (r"^downstream_head([12])\.", r"head\1."),
    (r"^head([12])\.proj\.", r"head\1.project."),
    (r"\.head_local_features\.", ".descriptors."),
    (r"\.fc1\.", ".0."),
    (r"\.fc2\.", ".2."),
    (r"\.dpt\.head\.", ".dpt.out."),
    (r"\.act_postprocess\.", ".reassemble."),
    (r"\.scratch\.refinenet([1-4])\.", lambda match: f".fusions.{int(match[1]) - 1}."),
    (r"\.scratch\.layer([1-4])_rn\.", lambda match: f".to_features.{int(match[1]) - 1}."),
    # The same tensor under its second name: a file may hold either or both.
    (r"\.scratch\.layer_rn\.([0-3])\.", r".to_features.\1."),
    (r"\.resConfUnit1\.", ".skip."),
    (r"\.resConfUnit2\.", ".residual."),
    (r"(\.fusions\.\d\.)out_conv\.", r"\1out."),
)
# In the official files, but read by no forward pass.
_UNUSED = re.compile(r"mask_token|.*\.scratch\.refinenet4\.resConfUnit1\..*")
_REMEDY = "give the settings this checkpoint was trained with"


def convert_state_dict(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official names -> ours, without what no forward pass reads.

    Raises:
        ValueError: two names of one tensor hold different values.
    """
    weights: dict[str, Tensor] = {}
    for name, tensor in official.items():
        if _UNUSED.fullmatch(name):
            continue
        ours = _our_name(name)
        if ours in weights and not _same(weights[ours], tensor):
            raise ValueError(f"{name} differs from the other copy of the same tensor in this file")
        weights[ours] = tensor
    return weights


def load_official(model: TwoViewModel, official: Mapping[str, Tensor]) -> None:
    """Fill a model from official weights: every name used, every parameter filled.

    Raises:
        ValueError: names are left over or missing, or a shape is another one.
    """
    config = model.config
    what = f"a network with head={config.head!r} and {config.descriptor_dim} descriptor channels"
    load_exactly(model, convert_state_dict(official), what, _REMEDY)


def config_from_arguments(
    arguments: Mapping[str, object],
    dpt: Mapping[str, object] | None = None,
) -> TwoViewConfig:
    """Our settings from the official constructor's arguments.

    Args:
        dpt: ``layer_dims``, ``feature_dim`` and ``last_dim`` where they are not the released ones.

    Raises:
        ValueError: a setting that no released network has.
    """
    head, mode = arguments.get("head_type"), str(arguments.get("output_mode", "pts3d"))
    if head not in ("linear", "dpt", "catmlp+dpt"):
        raise ValueError(f"head_type must be linear, dpt or catmlp+dpt, got {head!r}")
    descriptors = re.fullmatch(r"pts3d(?:\+desc(\d+))?", mode)
    if descriptors is None or (head == "catmlp+dpt") != (descriptors[1] is not None):
        raise ValueError(f"output_mode {mode!r} does not go with head_type {head!r}")
    _expect(arguments, "pos_embed", "RoPE100")
    _expect(arguments, "depth_mode", ("exp", -math.inf, math.inf))
    _expect(arguments, "conf_mode", ("exp", 1, math.inf))
    if descriptors[1]:
        _expect(arguments, "two_confs", True)
        _expect(arguments, "desc_conf_mode", ("exp", 0, math.inf))
    sizes = {
        ours: arguments[official]
        for official, ours in (
            ("enc_embed_dim", "encoder_dim"),
            ("enc_depth", "encoder_depth"),
            ("enc_num_heads", "encoder_heads"),
            ("dec_embed_dim", "decoder_dim"),
            ("dec_depth", "decoder_depth"),
            ("dec_num_heads", "decoder_heads"),
        )
        if official in arguments
    }
    widths = {f"dpt_{name}": _tuple(value) for name, value in (dpt or {}).items()}
    return TwoViewConfig(
        head="linear" if head == "linear" else "dpt",
        descriptor_dim=int(descriptors[1] or 0),
        **sizes,
        **widths,
    )


def parse_arguments(text: str) -> dict[str, object]:
    """Keyword arguments of a constructor call written as text; nothing is evaluated.

    Numbers, strings, booleans, None, inf and tuples or lists of them are understood.

    Raises:
        ValueError: the text is anything else.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        call = None
    if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
        raise ValueError(f"expected Name(key=value, ...), got {text[:80]!r}")
    return {str(keyword.arg): _literal(keyword.value) for keyword in call.keywords}


def read_official(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """Weights of an official file, and the text of its constructor call where it holds one.

    Raises:
        DataError: there is no such file, it is damaged, or loading it could run code.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)[0], None
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        if "Unsupported" in str(error):
            raise DataError(
                f"{path} holds more than weights and loading it could run code; where you trust "
                "it, load it with weights_only=False and save its 'model' alone"
            ) from None
        raise DataError(f"{path} is truncated or not a checkpoint; fetch it again") from None
    weights = content.get("model", content) if isinstance(content, Mapping) else None
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise DataError(f"{path} holds no state dict of a model")
    call = getattr(content.get("args"), "model", None) if weights is not content else None
    return dict(weights), call if isinstance(call, str) else None


def save_model(model: TwoViewModel, path: Path) -> None:
    """Write weights and settings, ``NAME.safetensors`` or ``NAME.pth``; whole or not at all.

    Raises:
        DataError: another suffix, or safetensors is not installed.
    """
    save_weights(model.state_dict(), model.config, path)


def save_weights(weights: Mapping[str, Tensor], config: TwoViewConfig, path: Path) -> None:
    """:func:`save_model` of a state dict, for one that is in no model.

    Raises:
        DataError: as there.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    settings = json.dumps(config.to_dict())
    if path.suffix == ".safetensors":
        library = _safetensors()
        with atomic_write(path) as file:
            library.save_file(weights, file.name, metadata={"config": settings})
    elif path.suffix == ".pth":
        with atomic_write(path) as file:
            torch.save(dict(model=weights, config=settings), file)
    else:
        raise DataError(f"{path} must end in .safetensors or .pth")


def load_model(path: Path) -> TwoViewModel:
    """The model in a file of :func:`save_model`, in eval mode.

    Raises:
        DataError: the file is missing, damaged, or not one of ours.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    try:
        if path.suffix == ".safetensors":
            weights, config = _read_safetensors(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
            weights, config = content["model"], content["config"]
        settings = {name: _tuple(value) for name, value in json.loads(config).items()}
        model = TwoViewModel(TwoViewConfig(**settings))
        model.load_state_dict(weights)
    except DataError:
        raise
    except Exception as error:  # torch and safetensors raise many kinds for a foreign file
        reason = textwrap.shorten(str(error), 160, placeholder=" ...")  # torch lists all names
        raise DataError(
            f"{path} is not a pointmap network of this project ({reason}); "
            "convert official files with tools/convert_pointmap_checkpoint.py; of your own "
            "training take pointmaps.pth beside its checkpoints"
        ) from None
    return model.eval()


def _our_name(name: str) -> str:
    for pattern, ours in _RENAMES:
        name = re.sub(pattern, ours, name)
    return name


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and (a.is_meta or torch.equal(a, b))


def _expect(arguments: Mapping[str, object], name: str, expected: object) -> None:
    value = arguments.get(name, expected)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = tuple(float(v) if v in ("inf", "-inf") else v for v in value)
    if value != expected:
        raise ValueError(f"{name} must be {expected!r} as in the released networks, got {value!r}")


def _literal(node: ast.expr) -> object:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id == "inf":
        return math.inf
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        if isinstance(value, (int, float)):
            return -value
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_literal(element) for element in node.elts)
    raise ValueError(f"not a plain value: {ast.unparse(node)[:80]!r}")


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], str]:
    with _safetensors_open(path) as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return weights, (file.metadata() or {}).get("config", "{}")


def _safetensors_open(path: Path):
    _safetensors()
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(str(path), framework="pt", device="cpu")
    except SafetensorError as error:
        raise DataError(f"{path} is no safetensors file ({error}); fetch it again") from None


def _safetensors():
    try:
        import safetensors.torch
    except ImportError:
        raise DataError(
            "safetensors is not installed: pip install safetensors, or use a .pth file"
        ) from None
    return safetensors.torch
