"""Official DELTAS weights -> ours, strictly."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from bevdepth_plus.errors import DataError
from bevdepth_plus.weights import load_exactly, read_plain_checkpoint

_NORM = {"conv": "0", "bn": "1"}
_RESNET = (r"(conv1|bn1|layer\d\..*)(.*)", r"encoder.resnet.\1\2")
# Of each part: its key in an official file, its name in our network, and (pattern, our name).
PARTS = {
    "state_dict": (
        "interest_points",
        (
            (r"(conv|bn)Pa\.(.*)", r"detector.deep.{0}.\2"),
            (r"(conv|bn)Pb\.(.*)", r"detector.fine.{0}.\2"),
            (r"convPc\.(.*)", r"detector.out.\1"),
            (r"(conv|bn)Da\.(.*)", r"descriptor.deep.{0}.\2"),
            (r"(conv|bn)Db\.(.*)", r"descriptor.merge.0.{0}.\2"),
            (r"(conv|bn)Dc\.(.*)", r"descriptor.merge.1.{0}.\2"),
            (r"convDd\.(.*)", r"descriptor.out.\1"),
            _RESNET,
        ),
    ),
    "state_dict_tri": ("matcher", ((r"bn_match_convD\.(.*)", r"norm.\1"),)),
    "state_dict_depth": (
        "densifier",
        (
            (r"ASPP\.daspp_(\d)\.(conv|bn)([12])\.(.*)", r"aspp.branches.<\1>.<\3>.{1}.\4"),
            (r"ASPP\.(conv|bn)f\.(.*)", r"aspp.merge.{0}.\2"),
            (r"gud_up_proj_layer(\d)\.(conv|bn)1\.(.*)", r"ups.<\1>.first.{1}.\3"),
            (r"gud_up_proj_layer(\d)\.(conv|bn)1_1\.(.*)", r"ups.<\1>.merge.{1}.\3"),
            (r"gud_up_proj_layer(\d)\.(conv|bn)2\.(.*)", r"ups.<\1>.second.{1}.\3"),
            (r"gud_up_proj_layer(\d)\.sc_(conv|bn)1\.(.*)", r"ups.<\1>.shortcut.{1}.\3"),
            (r"conv_final\.(.*)", r"out.\1"),
            (r"conv_scale2\.(.*)", r"side_outs.0.\1"),
            (r"conv_scale4\.(.*)", r"side_outs.1.\1"),
            (r"conv_scale8\.(.*)", r"side_outs.2.\1"),
            _RESNET,
        ),
    ),
}
# Parameters of the public code that none of its results depend on.
_UNUSED = re.compile(r"(bn)?convD_confa\..*")


def read_deltas(path: Path) -> dict[str, dict[str, Tensor]]:
    """The three state dicts of an official checkpoint file.

    Raises:
        DataError: there is no such file, it is damaged, or holds something else.
    """
    remedy = f"where you trust it, load it yourself and save its {sorted(PARTS)} alone"
    content = read_plain_checkpoint(path, remedy)
    missing = [name for name in PARTS if name not in content]
    if missing:
        raise DataError(
            f"{path} has no {', '.join(missing)}: an official DELTAS checkpoint holds "
            f"{', '.join(PARTS)}"
        )
    for name in PARTS:
        if not all(isinstance(value, Tensor) for value in content[name].values()):
            raise DataError(f"{path}: {name} holds something other than tensors")
    return {name: dict(content[name]) for name in PARTS}


def convert_part(part: str, official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One state dict of the public code with our names.

    The prefix ``module.`` of data-parallel training is taken off.

    Raises:
        ValueError: a name is not known.
    """
    renames = PARTS[part][1]
    bare = {name.removeprefix("module."): tensor for name, tensor in official.items()}
    return {_our_name(name, renames): bare[name] for name in bare if not _UNUSED.fullmatch(name)}


def load_part(module: nn.Module, part: str, official: Mapping[str, Tensor]) -> None:
    """Fill a module from one official state dict: every name used, every parameter filled.

    Raises:
        ValueError: names are left over or missing, or a shape is another one.
    """
    remedy = "is this an official DELTAS checkpoint?"
    load_exactly(module, convert_part(part, official), part, remedy)


def load_deltas(network: nn.Module, official: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Fill a :func:`deltas_network` of ``compat="deltas"`` from the three official state dicts."""
    for part, (module, _) in PARTS.items():
        load_part(getattr(network, module), part, official[part])


def _our_name(name: str, renames: tuple[tuple[str, str], ...]) -> str:
    for pattern, ours in renames:
        match = re.fullmatch(pattern, name)
        if match:
            return _filled(match, ours)
    raise ValueError(f"official weight {name!r} is not known; is this a DELTAS checkpoint?")


def _filled(match: re.Match, ours: str) -> str:
    """Our name: {n} is the group n + 1, conv or bn, as its place in a Sequential; <...> is counted
    from 0 instead of 1.
    """
    kinds = [_NORM.get(group, "") for group in match.groups()]
    renamed = match.expand(re.sub(r"\{(\d)\}", lambda place: kinds[int(place[1])], ours))
    return re.sub(r"<(\d)>", lambda number: str(int(number[1]) - 1), renamed)
