"""Training data with LiDAR in some scenes only, and a stand-in for a network that knows order."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import numpy as np
from mmdet3d.registry import TRANSFORMS
from mmengine.dataset import BaseDataset
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Sampler

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


@DATA_SAMPLERS.register_module()
class EveryOtherWithLidar(Sampler):
    """Without end: in turn a sample with LiDAR and one without, each in shuffled rounds.

    So half the steps have labels, however few samples have them.
    """

    def __init__(self, dataset: BaseDataset, seed: int) -> None:
        has_lidar = [
            dataset.get_data_info(i)["lidar_path"] is not None for i in range(len(dataset))
        ]
        self.groups = [np.flatnonzero(np.equal(has_lidar, wanted)) for wanted in (True, False)]
        self.seed = seed
        self.size = len(dataset)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng(self.seed)
        rounds = [self._shuffled(group, rng) for group in self.groups]
        while True:
            yield from map(next, rounds)

    def __len__(self) -> int:
        return self.size

    @staticmethod
    def _shuffled(group: np.ndarray, rng: np.random.Generator) -> Iterator[int]:
        while True:
            yield from rng.permutation(group).tolist()


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
