"""Priors that look at past frames and neighbouring cameras, on the features that a stream keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bevdepth_plus.deploy.features import Moment, PerceivedCamera
from bevdepth_plus.geometry.cameras import CameraRig
from bevdepth_plus.models.depth.estimator import Perception
from bevdepth_plus.models.depth.prior import View
from bevdepth_plus.models.detector import BEVDepth

# The cameras of one moment by name, each with its pose [4, 4] in the key frame's ego.
_ByName = Mapping[str, tuple[PerceivedCamera, np.ndarray]]


class KeptImage(NamedTuple):
    """What other images need of one image.

    Attributes:
        image: normalised, ``[1, 3, H, W]``.
        features: of the image encoder, ``[1, C, h, w]``.
    """

    image: Tensor
    features: Tensor


def look_around(
    detector: BEVDepth, moments: Sequence[Moment], device: torch.device
) -> list[Moment]:
    """The moments with the depth of :meth:`DepthEstimator.look_around`.

    As in the detector, each moment sees those before it. A camera that gave no image at one moment,
    but at another, is masked there.

    Args:
        moments: S, newest first; their features hold a :class:`KeptImage`.
    """
    by_name = [{camera.name: (camera, pose) for camera, pose in moment} for moment in moments]
    anywhere: dict[str, tuple[PerceivedCamera, np.ndarray]] = {}
    for cameras in by_name:
        anywhere = cameras | anywhere  # the newest of each
    names = list(anywhere)
    rig = _rig(by_name, anywhere, device)
    views: list[View] = []
    for index in reversed(range(len(moments))):
        images, features = (_stacked(by_name[index], names, part) for part in KeptImage._fields)
        view = View(images, features, rig.moment(index), rig.moment(0), tuple(views))
        views.insert(0, view)
    return [_seen(detector, *each, names) for each in zip(by_name, views, strict=True)]


def _rig(by_name: Sequence[_ByName], anywhere: _ByName, device: torch.device) -> CameraRig:
    """The cameras of all moments, as the data pipeline hands them over."""
    rows = [[moment.get(name, anywhere[name]) for name in anywhere] for moment in by_name]

    def matrices(name: str) -> np.ndarray:
        return np.stack([[getattr(camera, name) for camera, _ in row] for row in rows])

    meta = dict(
        intrinsics=matrices("intrinsics"),
        ego_T_cam=np.stack([[pose for _, pose in row] for row in rows]),
        image_aug=matrices("image_aug"),
        bev_aug=np.eye(4),
        camera_mask=np.array([[name in moment for name in anywhere] for moment in by_name]),
    )
    return CameraRig.from_metainfo([meta], device)


def _stacked(moment: _ByName, names: Sequence[str], part: str) -> Tensor:
    """Images or features of all cameras, zeros where one is masked, ``[1, N, ...]``."""
    there = {name: getattr(camera.features.kept, part) for name, (camera, _) in moment.items()}
    nothing = torch.zeros_like(next(iter(there.values())))
    # Unlike `stack`, `cat` keeps the layout in memory, and with it the last bits of what follows.
    return torch.cat([there.get(name, nothing) for name in names])[None]


def _seen(detector: BEVDepth, moment: _ByName, view: View, names: Sequence[str]) -> Moment:
    """One moment with its new depth."""
    there = [names.index(name) for name in moment]
    alone = torch.zeros(1, len(names), *_depth_of(moment).shape[1:], device=view.images.device)
    alone[0, there] = torch.cat([camera.features.depth for camera, _ in moment.values()])
    estimator = detector.depth
    # The context is not looked at.
    perception = Perception(view.cameras, view.features, alone)
    depth = estimator.look_around(perception, view).lifted.float()  # [1, N, D, h, w]
    maps = estimator.bins.expectation(depth)[0].cpu().numpy()
    seen = []
    for index, (camera, pose) in zip(there, moment.values(), strict=True):
        features = replace(
            camera.features, depth=depth[:, index], depth_map=maps[index].astype(np.float32)
        )
        seen.append((replace(camera, features=features), pose))
    return seen


def _depth_of(moment: _ByName) -> Tensor:
    camera, _ = next(iter(moment.values()))
    return camera.features.depth
