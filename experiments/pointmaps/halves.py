"""The training scenes in two halves: the network learns on one and labels the other."""

from __future__ import annotations

import pickle
from pathlib import Path

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.files import atomic_write

HALVES = tuple(f"bevdepth_plus_infos_train_{name}.pkl" for name in ("network", "detector"))


def write_halves(root: Path) -> None:
    """Write an info file of every second training scene, and one of the others."""
    content = read_info_file(root / "bevdepth_plus_infos_train.pkl")
    infos = content["data_list"]
    scenes = list(dict.fromkeys(info["scene_token"] for info in infos))
    for half, name in enumerate(HALVES):
        chosen = set(scenes[half::2])
        part = {**content, "data_list": [i for i in infos if i["scene_token"] in chosen]}
        with atomic_write(root / name, "wb") as file:
            pickle.dump(part, file)
