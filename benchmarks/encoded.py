"""Train what comes after the BEV encoder: its maps are computed once and kept on disk.

The detector up to its BEV encoder stays as it is. Its maps of every key frame and the past, as the
head gets them, are written by :func:`keep_encoded`; :class:`LoadEncoded` reads them in the place of
images, and :class:`FromEncoded` trains its head on them. Checkpoints are those of the whole
detector.
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
from mmengine.dataset import pseudo_collate
from tqdm import tqdm

from bevdepth_plus.geometry.camera import CameraRig
from bevdepth_plus.models.data_preprocessor import MultiViewPreprocessor
from bevdepth_plus.models.detector import BEVDepth


def encoded_path(folder: str | Path, image: str) -> Path:
    """Where the maps of the sample with this image (of its first camera) are kept."""
    return Path(folder) / f"{Path(image).stem}.npy"


@torch.no_grad()
def keep_encoded(model: BEVDepth, dataset: Mapping, folder: Path) -> None:
    """Write what the head gets of every sample of a data set; those already there are kept.

    Args:
        model: detector with ``fuse_encoded``; seen in eval mode.
        dataset: config of the data set, with a pipeline for tests.
        folder: gets one ``.npy`` a sample, float16 ``[S * C, Y, X]``.
    """
    model.eval()
    folder.mkdir(parents=True, exist_ok=True)
    samples = DATASETS.build(dataset)
    for index in tqdm(range(len(samples)), unit="key frame"):
        path = encoded_path(folder, samples.get_data_info(index)["img_path"][0])
        if path.is_file():
            continue
        data = model.data_preprocessor(pseudo_collate([samples[index]]))
        rig = CameraRig.from_metainfo([data["data_samples"][0].metainfo])
        images = data["inputs"]["img"].unflatten(1, (rig.num_frames, rig.num_cameras))
        bev, _ = model.forward_bev(images, rig)
        fresh = path.with_suffix(".tmp")
        with fresh.open("wb") as file:
            np.save(file, bev[0].half().numpy())
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
    """A :class:`BEVDepth` whose BEV maps are there already; the rest is only carried along."""

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]) -> dict:
        """Losses of the head; it gets as many of the moments as it knows."""
        channels = self.bbox_head.num_frames * self.bbox_head.in_channels
        return self.bbox_head.loss([batch_inputs_dict["img"][:, :channels]], batch_data_samples)
