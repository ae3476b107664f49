"""Train the BEV part alone: what the image part lifts is computed once and kept on disk.

The image part of a trained detector stays as it is. Its depth and context of every key frame are
written by :func:`keep_lifted`; :class:`LoadLifted` reads them in the place of images, and
:class:`FromLifted` trains what comes after. Checkpoints are those of the whole detector.
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
from torch import Tensor
from tqdm import tqdm

from bevdepth_plus.geometry.camera import CameraRig
from bevdepth_plus.models.data_preprocessor import MultiViewPreprocessor
from bevdepth_plus.models.detector import BEVDepth, Depths


def lifted_path(folder: str | Path, image: str) -> Path:
    """Where the key frame of this image (of its first camera) is kept."""
    return Path(folder) / f"{Path(image).stem}.npz"


@torch.no_grad()
def keep_lifted(model: BEVDepth, dataset: Mapping, folder: Path) -> None:
    """Write depth and context of every key frame of a data set; those already there are kept.

    Args:
        model: one-frame detector; seen in eval mode.
        dataset: config of the data set, with a pipeline for tests.
        folder: gets one ``.npz`` a key frame: ``lifted``, float16 ``[N, D + C, H, W]``, and
            ``image_aug`` ``[N, 3, 3]``.
    """
    model.eval()
    folder.mkdir(parents=True, exist_ok=True)
    seen: list[Tensor] = []
    hook = model.view_transform.register_forward_pre_hook(
        lambda _, inputs: seen.append(torch.cat(inputs[:2], dim=2)[0].half())
    )
    samples = DATASETS.build(dataset)
    for index in tqdm(range(len(samples)), unit="key frame"):
        path = lifted_path(folder, samples.get_data_info(index)["img_path"][0])
        if path.is_file():
            continue
        data = model.data_preprocessor(pseudo_collate([samples[index]]))
        rig = CameraRig.from_metainfo([data["data_samples"][0].metainfo])
        seen.clear()
        model.lift_splat(data["inputs"]["img"], rig, rig)
        fresh = path.with_suffix(".tmp")
        with fresh.open("wb") as file:
            np.savez(file, lifted=seen[0].numpy(), image_aug=rig.image_aug[0, 0].numpy())
        os.replace(fresh, path)
    hook.remove()


@TRANSFORMS.register_module()
class LoadLifted(BaseTransform):
    """Reads what :func:`keep_lifted` wrote, in the place of images and their augmentation."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def transform(self, results: dict) -> dict:
        first_cameras = results["img_path"][:: len(results["cam_names"])]
        frames = [np.load(lifted_path(self.folder, path)) for path in first_cameras]
        lifted = np.concatenate([frame["lifted"] for frame in frames])
        return {
            **results,
            "img": list(lifted.transpose(0, 2, 3, 1)),
            "image_aug": np.stack([frame["image_aug"] for frame in frames]).astype(np.float64),
        }


@MODELS.register_module()
class LiftedPreprocessor(MultiViewPreprocessor):
    """Batches as they are; there are no pixels to normalise."""

    def forward(self, data: dict, training: bool = False) -> dict:
        data = self.cast_data(data)
        img = torch.stack(data["inputs"]["img"]).float()
        return {"inputs": {"img": img}, "data_samples": data["data_samples"]}


@MODELS.register_module()
class FromLifted(BEVDepth):
    """A :class:`BEVDepth` whose images are already lifted; its image part is only carried along."""

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]) -> dict:
        """Detection losses alone: there is no depth left to teach."""
        rig = self._rig(batch_data_samples)
        bev, _ = self.forward_bev(self._frames(batch_inputs_dict["img"], rig), rig)
        return self.bbox_head.loss([bev], batch_data_samples)

    def _frames(self, images: Tensor, rig: CameraRig) -> Tensor:
        return images.unflatten(1, (rig.num_frames, rig.num_cameras))

    def lift_splat(self, images: Tensor, rig: CameraRig, key: CameraRig) -> tuple[Tensor, Depths]:
        depth, context = images.split([self.bins.num_bins, images.shape[2] - self.bins.num_bins], 2)
        return self.view_transform(depth.contiguous(), context.contiguous(), rig), Depths(depth)
