"""A detector's BEV maps on disk, so that what compares them can train without images.

The first convolution of a :class:`MotionCenterHead` makes one map of each moment. All that comes
before it stays as it is, so the maps are computed once, by :func:`write_shared_maps`, and
:class:`LoadSharedMaps` reads them in the place of images.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import DATASETS, MODELS, TRANSFORMS
from mmdet3d.utils import register_all_modules
from mmengine.dataset import pseudo_collate
from mmengine.runner import load_checkpoint
from torch import Tensor
from tqdm import tqdm

import bevdepth_plus.plugin  # noqa: F401, for processes of their own
from bevdepth_plus.files import atomic_write
from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.models.detector import BEVDepth


def shared_maps_path(folder: str | Path, image: str) -> Path:
    """The file of the sample with this image (of its first camera)."""
    return Path(folder) / f"{Path(image).stem}.npy"


def write_shared_maps(
    model: Mapping, checkpoint: Path, dataset: Mapping, folder: Path, jobs: int = 1
) -> None:
    """Write the shared maps of each sample of a data set; files that exist are kept.

    Args:
        model: config of a detector with ``fuse_encoded`` and a MotionCenterHead named ``boxes``.
        checkpoint: its weights.
        dataset: config of the data set, with a pipeline for tests.
        folder: gets one ``.npy`` for each sample, float16 ``[S * C, Y, X]``.
        jobs: processes at the same time; several have one thread each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    args = (jobs, model, checkpoint, dataset, folder)
    if jobs == 1:
        _write_part(0, *args)
    else:
        torch.multiprocessing.spawn(_write_part, args, nprocs=jobs, daemon=True)


def _write_part(
    job: int, jobs: int, model: Mapping, checkpoint: Path, dataset: Mapping, folder: Path
) -> None:
    """Every ``jobs``-th sample."""
    register_all_modules()
    if jobs > 1:
        torch.set_num_threads(1)
    detector = MODELS.build(model).eval()
    load_checkpoint(detector, str(checkpoint), map_location="cpu", strict=True, logger="silent")
    samples = DATASETS.build(dataset)
    for index in tqdm(range(job, len(samples), jobs), unit="key frame", disable=job > 0):
        path = shared_maps_path(folder, samples.get_data_info(index)["img_path"][0])
        if path.is_file():
            continue
        maps = _shared_maps(detector, samples[index])
        with atomic_write(path) as file:
            np.save(file, maps.half().numpy())


@torch.no_grad()
def _shared_maps(detector: BEVDepth, sample: dict) -> Tensor:
    """The maps of all moments of a sample, newest first, ``[S * C, Y, X]``."""
    data = detector.data_preprocessor(pseudo_collate([sample]))
    rig = CameraRig.from_metainfo([data["data_samples"][0].metainfo])
    images = data["inputs"]["img"].unflatten(1, (rig.num_moments, rig.num_cameras))
    bev, _ = detector.forward_bev(images, rig)  # [1, S * C, Y, X]
    return torch.cat(detector.heads["boxes"].shared_maps(bev), dim=1)[0]


@TRANSFORMS.register_module()
class LoadSharedMaps(BaseTransform):
    """Reads what :func:`write_shared_maps` wrote, as one image of many channels."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def transform(self, results: dict) -> dict:
        maps = np.load(shared_maps_path(self.folder, results["img_path"][0]))
        return {**results, "img": [maps.transpose(1, 2, 0)]}
