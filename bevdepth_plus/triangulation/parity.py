"""Our wing on the public DELTAS code's recorded inputs, compared with its recorded results.

A folder holds ``config.json`` with ``"kind": "deltas"``, files of flat dicts "case/name" -> tensor
and :data:`KEYS`. Full-size weights are not stored but drawn from their names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from bevdepth_plus.triangulation.parity_checks import Check, Checker, Record
from bevdepth_plus.triangulation.parity_networks import network_checkers
from bevdepth_plus.triangulation.parity_pieces import PIECE_CHECKERS

KEYS = "deltas_state_dict_keys.json"  # names and shapes of the official weights


def compare_folder(folder: Path) -> Iterator[tuple[str, list[Check]]]:
    """Each recorded case by "file/case", with the checks of its tensors.

    Raises:
        FileNotFoundError: a file of the folder is missing.
        ValueError: a recorded tensor has another shape than ours.
    """
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
