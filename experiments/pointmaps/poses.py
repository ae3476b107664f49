"""Where was the camera half a second later? The pose of view 2 from a pair's pointmap alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from bevdepth_plus.geometry.cameras import compose_pixels
from bevdepth_plus.pointmaps.checkpoints import load_model
from bevdepth_plus.pointmaps.drives import Drive, Shot
from bevdepth_plus.pointmaps.images import load_image
from experiments.pointmaps.labels import LONG_SIDE, drives_of

STRIDE = 4  # pixels from one correspondence to the next
_REPROJECTION = 3.0  # pixels within which a correspondence counts


def pose_of_second(
    points: Tensor,  # [H, W, 3], of view 2 in the frame of view 1
    intrinsics: Tensor,  # [3, 3], of view 2
) -> np.ndarray | None:
    """``first_T_second`` in the points' unit by PnP with RANSAC, ``[4, 4]``; None: not found."""
    height, width = points.shape[:2]
    rows, columns = np.mgrid[STRIDE // 2 : height : STRIDE, STRIDE // 2 : width : STRIDE]
    places = points[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].reshape(-1, 3).double().numpy()
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 2).astype(np.float64)
    matrix = intrinsics.double().numpy().copy()
    matrix[:2, 2] -= 0.5  # OpenCV counts pixel centres at integers
    cv2.setRNGSeed(0)
    found, turn, shift, _ = cv2.solvePnPRansac(
        places, pixels, matrix, None, reprojectionError=_REPROJECTION, flags=cv2.SOLVEPNP_SQPNP
    )
    if not found:
        return None
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    return np.linalg.inv(pose)


def pose_errors(found: np.ndarray | None, true: np.ndarray) -> tuple[float, float]:
    """Rotation in degrees and position in metres; of a camera that never moved where none is."""
    pose = np.eye(4) if found is None else found
    turn = pose[:3, :3].T @ true[:3, :3]
    cosine = np.clip((np.trace(turn) - 1) / 2, -1, 1)
    return float(np.degrees(np.arccos(cosine))), float(np.linalg.norm(pose[:3, 3] - true[:3, 3]))


@torch.no_grad()
def pose_scores(root: Path, version: str, weights: Path, images: set[str]) -> dict[str, Any]:
    """Median errors over pairs of one camera's neighbouring images, beside "it did not move"."""
    model = load_model(weights)
    errors, still = [], []
    for drive in tqdm(drives_of(root, version, images), desc="poses", unit="scene"):
        for first, second in neighbours(drive):
            a, b = (load_image(shot.path, LONG_SIDE, upright=False) for shot in (first, second))
            _, other = model(a.pixels[None], b.pixels[None])  # b in a
            own = torch.from_numpy(second.intrinsics).float()
            found = pose_of_second(other.points[0], compose_pixels(b.image_aug, own))
            true = np.linalg.inv(first.global_T_cam) @ second.global_T_cam
            errors.append(pose_errors(found, true))
            still.append(pose_errors(None, true))
    return summary(errors, still)


def neighbours(drive: Drive) -> list[tuple[Shot, Shot]]:
    """Each camera's images and the next one's, of every second moment."""
    cameras = len(drive.cameras)
    pairs = []
    for i in range(0, len(drive.shots) - cameras, 2 * cameras):
        for first, second in zip(
            drive.shots[i : i + cameras], drive.shots[i + cameras : i + 2 * cameras], strict=True
        ):
            if first.path is not None and second.path is not None:
                pairs.append((first, second))
    return pairs


def summary(
    errors: Sequence[tuple[float, float]], still: Sequence[tuple[float, float]]
) -> dict[str, Any]:
    """Medians of rotation and position, and how many pairs there are."""
    medians = {
        name: np.median(np.array(values), axis=0).tolist()
        for name, values in (("network", errors), ("no motion", still))
    }
    return {**medians, "pairs": len(errors)}
