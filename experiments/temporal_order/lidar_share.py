"""Training data with LiDAR in some scenes only, and a stand-in for a network that knows order."""

from __future__ import annotations

import pickle
from pathlib import Path
from zlib import crc32

import numpy as np
from mmdet3d.registry import TRANSFORMS

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.transforms.dense_depth import LoadDenseDepth
from bevdepth_plus.files import atomic_write


def write_sparse_infos(root: Path, every: int) -> str:
    """Write a training info file: one scene of ``every`` keeps its LiDAR; returns its name."""
    content = read_info_file(root / "bevdepth_plus_infos_train.pkl")
    scenes = list(dict.fromkeys(info["scene_token"] for info in content["data_list"]))
    for info in content["data_list"]:
        if scenes.index(info["scene_token"]) % every:
            info["lidar_points"] = {**info["lidar_points"], "lidar_path": None}
    name = f"bevdepth_plus_infos_train_lidar_1_of_{every}.pkl"
    with atomic_write(root / name, "wb") as file:
        pickle.dump(content, file)
    return name


@TRANSFORMS.register_module()
class StandInTeacher(LoadDenseDepth):
    """Exact depth bent by an unknown rising curve: the order is right and nothing else.

    No depth network's weights can be had here; a true one makes mistakes that this one does not.
    """

    result = "teacher_depth"

    def transform(self, results: dict) -> dict:
        results = super().transform(results)
        rng = np.random.default_rng(crc32(results["token"].encode()))
        shape = (len(results["teacher_depth"]), 1, 1)
        scale, power = rng.uniform(0.1, 10, shape), rng.uniform(0.5, 1.5, shape)
        bent = scale * results["teacher_depth"].astype(np.float64) ** power
        return {**results, "teacher_depth": bent.astype(np.float32)}
