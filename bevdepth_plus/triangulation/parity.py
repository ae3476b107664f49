"""Our wing on the public DELTAS code's recorded inputs, compared with its recorded results.

A folder holds ``config.json`` with ``"kind": "deltas"``, files of flat dicts "case/name" -> tensor
and :data:`KEYS`. Full-size weights are not stored but drawn from their names.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

KEYS = "deltas_state_dict_keys.json"  # names and shapes of the official weights
PIXELS = 5e-4  # tolerance in pixels: recorded in float32, at coordinates of up to 1000
RELATIVE = 2e-5  # of a tensor's largest value, and of a point's distance
GRADIENT = 2e-3  # of a gradient's largest value; sums over thousands of samples cancel


@dataclass(frozen=True)
class Check:
    """One tensor of a recorded case beside ours.

    Attributes:
        name: of the tensor.
        error: the largest, in pixels or relative as the tolerance is.
        tolerance: what it may be.
    """

    name: str
    error: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.error <= self.tolerance  # False for NaN

    @property
    def share(self) -> float:
        """Of the tolerance that the error takes up."""
        return self.error / max(self.tolerance, 1e-30)


Record = Mapping[str, Tensor]
Checker = Callable[[Record, str], Iterator[Check]]


def compare_folder(folder: Path) -> Iterator[tuple[str, list[Check]]]:
    """Each recorded case by "file/case", with the checks of its tensors.

    Raises:
        FileNotFoundError: a file of the folder is missing.
        ValueError: a recorded tensor has another shape than ours.
    """
    from bevdepth_plus.triangulation.parity_networks import network_checkers
    from bevdepth_plus.triangulation.parity_pieces import PIECE_CHECKERS

    keys = folder / KEYS
    shapes = json.loads(keys.read_text()) if keys.is_file() else {}
    files: dict[str, Checker] = {**PIECE_CHECKERS, **network_checkers(shapes)}
    for name in (KEYS, *files):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} is missing; a DELTAS parity folder holds "
                f"{', '.join((KEYS, *files))}"
            )
    for name, checker in files.items():
        content = torch.load(folder / name, map_location="cpu", weights_only=True)
        for case, record in cases(content).items():
            checks = list(checker(record, case))
            if checks:
                yield f"{name.removeprefix('deltas_').removesuffix('.pth')}/{case}", checks


def report(folder: Path) -> int:
    """Print the largest error of each recorded case; the exit status: 0 within all tolerances.

    The error shown is that nearest to or farthest beyond its tolerance.
    """
    print(f"{'case':42} {'largest error':>13} {'tolerance':>9}  of")
    agreeing = compared = 0
    try:
        for case, checks in compare_folder(folder):
            worst = max(checks, key=lambda one: (not one.agrees, one.share))
            agrees = all(one.agrees for one in checks)
            agreeing, compared = agreeing + agrees, compared + 1
            line = f"{case:42} {worst.error:13.2e} {worst.tolerance:9.0e}  {worst.name}"
            print(line if agrees else f"{line}  BEYOND")
    except (FileNotFoundError, ValueError) as error:
        print(f"check_parity: {error}", file=sys.stderr)
        return 2
    print(f"{agreeing} of {compared} cases agree within their tolerances")
    return 0 if agreeing == compared > 0 else 1


def cases(content: Record) -> dict[str, dict[str, Tensor]]:
    """The tensors of each case; ``_f16`` of a name is taken off and the tensor made float32."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, tensor in content.items():
        case, _, name = key.partition("/")
        if name.endswith("_f16"):
            name, tensor = name.removesuffix("_f16"), tensor.float()
        found.setdefault(case, {})[name] = tensor
    # A training step without inputs of its own was taken on those of its evaluation.
    return {
        case: {**found.get(case.replace("_train", "_eval"), {}), **record}
        for case, record in found.items()
    }


def pixels(name: str, ours: Tensor, recorded: Tensor) -> Check:
    """Largest difference in pixels."""
    return Check(name, _difference(name, ours, recorded).max().item(), PIXELS)


def relative(name: str, ours: Tensor, recorded: Tensor, tolerance: float = RELATIVE) -> Check:
    """Largest difference beside the record's largest value, or beside 1e-9 if that is smaller."""
    largest = max(recorded.double().abs().max().item(), 1e-9)
    return Check(name, _difference(name, ours, recorded).max().item() / largest, tolerance)


def gradient(name: str, ours: Tensor | None, recorded: Tensor) -> Check:
    if ours is None:
        raise ValueError(f"{name}: ours has no gradient")
    return relative(name, ours, recorded, GRADIENT)


def distances(name: str, ours: Tensor, recorded: Tensor, tolerance: float = RELATIVE) -> Check:
    """Largest distance between two points ``[..., 3]`` beside their distance from the camera."""
    between = _difference(name, ours, recorded).norm(dim=-1)
    away = recorded.double().norm(dim=-1).clamp(min=1e-9)
    return Check(name, (between / away).max().item(), tolerance)


def same(name: str, ours: Tensor, recorded: Tensor) -> Check:
    """How many entries differ; none may."""
    return Check(name, (_difference(name, ours, recorded) != 0).sum().item(), 0.0)


def drawn_weights(prefix: str, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Weights from their names, as the record's README prescribes."""
    return {name: _drawn(prefix + name, tuple(shape)) for name, shape in shapes.items()}


def _drawn(key: str, shape: tuple[int, ...]) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    state = np.random.RandomState(zlib.crc32(key.encode()) & 0xFFFFFFFF)
    z = state.standard_normal(shape or (1,)).reshape(shape)
    if key.endswith("running_mean"):
        z = 0.05 * z
    elif key.endswith("running_var"):
        z = 1 + 0.2 * np.tanh(z)
    elif key.endswith("weight") and len(shape) == 1:
        z = 1 + 0.1 * np.tanh(z)
    elif key.endswith("bias"):
        z = 0.05 * z
    else:
        z = 0.7 * z * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(z, dtype=np.float32))


def _difference(name: str, ours: Tensor, recorded: Tensor) -> Tensor:
    if ours.shape != recorded.shape:
        raise ValueError(f"{name}: ours is {tuple(ours.shape)}, recorded {tuple(recorded.shape)}")
    return (ours.detach().double() - recorded.double()).abs()
