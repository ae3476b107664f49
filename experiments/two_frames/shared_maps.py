"""Train what sees motion alone: the maps it compares are computed once and kept on disk.

The detector stays as it is. What the first convolution of its head makes of every key frame and its
past is written by :func:`keep_encoded`; :class:`LoadEncoded` reads it in the place of images, and
:class:`FromEncoded` trains velocities on it. Checkpoints are those of the whole detector.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmdet3d.registry import DATASETS, MODELS, TRANSFORMS
from mmdet3d.structures import Det3DDataSample
from mmdet3d.utils import register_all_modules
from mmengine.dataset import pseudo_collate
from mmengine.runner import load_checkpoint
from torch import Tensor
from tqdm import tqdm

import bevdepth_plus.plugin  # noqa: F401, for processes of their own
from bevdepth_plus.geometry.camera import CameraRig
from bevdepth_plus.models.data_preprocessor import MultiViewPreprocessor
from bevdepth_plus.models.detector import BEVDepth


def encoded_path(folder: str | Path, image: str) -> Path:
    """Where the maps of the sample with this image (of its first camera) are kept."""
    return Path(folder) / f"{Path(image).stem}.npy"


def keep_encoded(
    model: Mapping, checkpoint: Path, dataset: Mapping, folder: Path, jobs: int = 1
) -> None:
    """Write the maps that motion is seen in, of each sample of a data set; finished ones stay.

    Args:
        model: config of a detector with ``fuse_encoded`` and a MotionCenterHead.
        checkpoint: its weights.
        dataset: config of the data set, with a pipeline for tests.
        folder: gets one ``.npy`` a sample, float16 ``[S * C, Y, X]``.
        jobs: processes at the same time; several have one thread each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    args = (jobs, model, checkpoint, dataset, folder)
    if jobs == 1:
        _keep_part(0, *args)
    else:
        torch.multiprocessing.spawn(_keep_part, args, nprocs=jobs, daemon=True)


@torch.no_grad()
def _keep_part(
    job: int, jobs: int, model: Mapping, checkpoint: Path, dataset: Mapping, folder: Path
) -> None:
    """Every ``jobs``-th sample."""
    register_all_modules()
    if jobs > 1:
        torch.set_num_threads(1)
    detector = MODELS.build(model).eval()
    load_checkpoint(detector, str(checkpoint), map_location="cpu", logger="silent")
    samples = DATASETS.build(dataset)
    for index in tqdm(range(job, len(samples), jobs), unit="key frame", disable=job > 0):
        path = encoded_path(folder, samples.get_data_info(index)["img_path"][0])
        if path.is_file():
            continue
        data = detector.data_preprocessor(pseudo_collate([samples[index]]))
        rig = CameraRig.from_metainfo([data["data_samples"][0].metainfo])
        images = data["inputs"]["img"].unflatten(1, (rig.num_frames, rig.num_cameras))
        maps = detector.bbox_head.shared_maps(detector.forward_bev(images, rig)[0])
        fresh = path.with_suffix(".tmp")
        with fresh.open("wb") as file:
            np.save(file, torch.cat(maps, dim=1)[0].half().numpy())
        os.replace(fresh, path)


@TRANSFORMS.register_module()
class LoadEncoded(BaseTransform):
    """Reads what :func:`keep_encoded` wrote, as one image of many channels."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def transform(self, results: dict) -> dict:
        maps = np.load(encoded_path(self.folder, results["img_path"][0]))
        return {**results, "img": [maps.transpose(1, 2, 0)]}


@MODELS.register_module()
class EncodedPreprocessor(MultiViewPreprocessor):
    """Batches as they are; there are no pixels to normalise."""

    def forward(self, data: dict, training: bool = False) -> dict:
        data = self.cast_data(data)
        maps = torch.cat(data["inputs"]["img"]).float()
        return {"inputs": {"img": maps}, "data_samples": data["data_samples"]}


@MODELS.register_module()
class FromEncoded(BEVDepth):
    """A :class:`BEVDepth` that learns velocities from kept maps; the rest is only carried along."""

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]) -> dict:
        """Loss of the velocities."""
        gt = [sample.gt_instances_3d for sample in batch_data_samples]
        velocities = self.velocities(batch_inputs_dict["img"])
        return dict(loss_velocity=self.bbox_head.velocity_loss(velocities, gt))

    def velocities(self, maps: Tensor) -> list[Tensor]:
        """What the head makes of kept maps, of as many of the moments as it knows."""
        maps = maps.split(self.bbox_head.shared_conv.out_channels, dim=1)
        return self.bbox_head.velocities(maps[: self.bbox_head.num_frames])
