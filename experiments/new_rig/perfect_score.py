"""What a rig's cameras can see at all: the score of a detector that finds exactly that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.nuscenes_dataset import NuScenesBEVDataset
from bevdepth_plus.datasets.transforms import ImageAugmentation, LoadMultiViewImages
from bevdepth_plus.datasets.transforms.camera_coverage import covered_points
from bevdepth_plus.evaluation.detection import evaluate_detections, predictions_from_ground_truth


def perfect_score(root: Path, config: Path) -> dict[str, float]:
    """Score of the true boxes whose centre lies in an image as the network of ``config`` gets it.

    Returns:
        ``perfect_mAP``, and ``covered``, the share of the boxes that are found so.
    """
    info_file = root / "bevdepth_plus_infos_val.pkl"
    infos = read_info_file(info_file)["data_list"]
    dataset = NuScenesBEVDataset(str(info_file), data_root=str(root), test_mode=True)
    final_dim = Config.fromfile(config, import_custom_modules=False).image_size
    load, augment = LoadMultiViewImages(), ImageAugmentation(final_dim, training=False)
    predictions = predictions_from_ground_truth(infos)
    for index in range(len(dataset)):
        sample = augment(load(dataset.get_data_info(index)))
        boxes = predictions[sample["token"]]
        centres = np.array([box["translation"] for box in boxes]).reshape(-1, 3)
        ego_T_global = np.linalg.inv(sample["ego2global"])
        in_ego = centres @ ego_T_global[:3, :3].T + ego_T_global[:3, 3]
        covered = covered_points(torch.from_numpy(in_ego), sample)
        predictions[sample["token"]] = [
            box for box, is_covered in zip(boxes, covered, strict=True) if is_covered
        ]
    scores = evaluate_detections(predictions, infos)
    return {
        "perfect_mAP": scores["mAP"],
        "covered": scores["num_predictions"] / scores["num_ground_truth"],
    }
