"""A config and its checkpoint in PyTorch, on a CPU or a GPU; this backend alone needs mmdet3d."""

from __future__ import annotations

import bevdepth_plus.threads  # noqa: F401  # before torch

# isort: split
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from mmdet3d.utils import register_all_modules
from numpy.typing import NDArray
from torch import Tensor, nn

from bevdepth_plus.compat import allow_mmengine_checkpoints
from bevdepth_plus.deploy.backends.look_around import KeptImage, look_around
from bevdepth_plus.deploy.describe import describe
from bevdepth_plus.deploy.features import ImageFeatures, Moment
from bevdepth_plus.deploy.parts import BEVPart, ImagePart, check_deployable
from bevdepth_plus.engine.launch import load_config
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.cameras import CameraRig, Cameras
from bevdepth_plus.models.depth.depth_net import DeformableConv
from bevdepth_plus.models.detector import BEVDepth
from bevdepth_plus.visualization.from_config import build_model

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend:
    """The detector itself, in the steps that a stream needs.

    Depth, context and pooling stay in float32 in every precision.

    Args:
        config: of the model.
        checkpoint: that was trained with it.
        device: ``cpu``, ``cuda`` or ``auto``: a GPU if there is one.
        precision: of the network: ``fp32``, ``bf16``, or ``fp16`` on a GPU.
        compiled: run the network through ``torch.compile``. The first call takes a minute, and one
            more for each other number of cameras.

    Raises:
        DataError: the checkpoint is of another config, the model cannot be taken apart, or the
            device or precision cannot be had.
    """

    def __init__(
        self,
        config: str | Path,
        checkpoint: str | Path,
        device: str = "auto",
        precision: str = "fp32",
        compiled: bool = False,
    ) -> None:
        self.device = _device(device)
        self.dtype = _dtype(precision, self.device)
        cfg = load_config(str(config), None, None)
        register_all_modules()
        allow_mmengine_checkpoints()
        cfg.model.image_encoder.backbone.init_cfg = None  # all weights come from the checkpoint
        detector: Any = build_model(cfg, str(checkpoint), self.device).requires_grad_(False)
        check_deployable(detector)
        self.detector: BEVDepth = detector
        self.description = describe(detector, cfg, Path(config).name)
        if self.dtype is not None:
            # The layout that low-precision convolutions are fast in; mmcv's own takes the other.
            detector.to(memory_format=torch.channels_last)
            for module in detector.modules():
                if isinstance(module, DeformableConv):
                    cast(Any, module).to(memory_format=torch.contiguous_format)
        self.looks_around = not all(p.single_image for p in detector.depth.priors.values())
        self._image_part = _compiled(ImagePart(detector, self.looks_around), compiled)
        self._bev_part = _compiled(_BEVMaps(detector), compiled)

    @torch.no_grad()
    def perceive(
        self,
        images: NDArray[np.uint8],  # [N, 3, H, W], RGB
        intrinsics: NDArray[Any],  # [N, 3, 3]
        ego_T_cam: NDArray[Any],  # [N, 4, 4]
        image_aug: NDArray[Any],  # [N, 3, 3]
    ) -> list[ImageFeatures]:
        """Depth and context of each camera, ``[1, D, h, w]`` and ``[1, C, h, w]`` tensors."""
        cameras = self.cameras(intrinsics, ego_T_cam, image_aug)
        with self._autocast():
            depth, context, depth_map, *kept = self._image_part(
                cameras.intrinsics[0],
                cameras.ego_T_cam[0],
                cameras.image_aug[0],
                torch.from_numpy(np.ascontiguousarray(images)).to(self.device),
            )
        maps = depth_map.float().cpu().numpy()
        return [
            ImageFeatures(
                depth[i : i + 1].float(),
                context[i : i + 1].float(),
                maps[i],
                KeptImage(*(values[i : i + 1] for values in kept)) if kept else None,
            )
            for i in range(len(images))
        ]

    @torch.no_grad()
    def look_around(self, moments: Sequence[Moment]) -> list[Moment]:
        """See :class:`~bevdepth_plus.deploy.features.Backend`."""
        with self._autocast():
            return look_around(self.detector, moments, self.device)

    @torch.no_grad()
    def splat(
        self,
        features: Sequence[ImageFeatures],
        intrinsics: NDArray[Any],  # [N, 3, 3]
        ego_T_cam: NDArray[Any],  # [N, 4, 4], into the key frame's ego
        image_aug: NDArray[Any],  # [N, 3, 3]
    ) -> Tensor:
        """One moment's BEV map ``[1, C, Y, X]``; a rig that does not change has a plan."""
        depth, context = (
            torch.cat([getattr(each, name) for each in features])[None]
            for name in ("depth", "context")
        )
        cameras = self.cameras(intrinsics, ego_T_cam, image_aug)
        return self.detector.view_transform(depth, context, cameras)

    @torch.no_grad()
    def head_maps(self, bevs: Sequence[Tensor]) -> dict[str, NDArray[np.float32]]:
        """The heads' maps by name, ``[C, Y, X]`` each, from S moments, newest first."""
        with self._autocast():
            maps = self._bev_part(torch.cat(list(bevs), dim=1))
        return {name: values[0].float().cpu().numpy() for name, values in maps.items()}

    def cameras(self, intrinsics: Any, ego_T_cam: Any, image_aug: Any) -> Cameras:
        """As the data pipeline hands them over, with a fingerprint for the plans."""
        meta = dict(
            intrinsics=np.asarray(intrinsics)[None],
            ego_T_cam=np.asarray(ego_T_cam)[None],
            image_aug=np.asarray(image_aug)[None],
            bev_aug=np.eye(4),
        )
        return CameraRig.from_metainfo([meta], self.device).moment(0)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None
        )


class _BEVMaps(nn.Module):
    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.part = BEVPart(detector)

    def forward(self, bevs: Tensor) -> dict[str, Tensor]:
        return self.part.maps(bevs)


def _compiled(module: nn.Module, wanted: bool) -> Callable:
    if not wanted:
        return module
    import torch._inductor.config as inductor  # slow to import, and only needed here

    inductor.freezing = True  # weights become constants: they are packed once
    return torch.compile(module)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise DataError(f"device {name!r}: PyTorch sees no CUDA device; use device='cpu'")
    return torch.device(name)


def _dtype(precision: str, device: torch.device) -> torch.dtype | None:
    if precision not in PRECISIONS:
        raise DataError(f"precision must be one of {', '.join(PRECISIONS)}, got {precision!r}")
    if precision == "fp16" and device.type == "cpu":
        raise DataError("precision 'fp16' needs a GPU; on a CPU use 'bf16'")
    return PRECISIONS[precision]
