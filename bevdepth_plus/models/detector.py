"""The detector: from images and calibration to boxes; start at ``forward_bev``."""

# mmdet3d's detectors take other arguments than mmdet's BaseDetector, from which they inherit:
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from mmdet3d.models.detectors import Base3DDetector
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample
from mmengine.model import ModuleDict
from torch import Tensor

from bevdepth_plus.geometry.cameras import CameraRig, Cameras
from bevdepth_plus.models.depth.estimator import Perception
from bevdepth_plus.models.depth.prior import View
from bevdepth_plus.models.flip_average import FlipAverage
from bevdepth_plus.models.frozen import freeze
from bevdepth_plus.models.heads.head import BEVHead
from bevdepth_plus.models.inputs import images_and_rig


@MODELS.register_module()
class BEVDepth(Base3DDetector):
    """Camera-only 3D detection in the bird's-eye view. Source: BEVDepth (AAAI 2023).

    Arguments that follow from another part (channels, stride, grid, bins) are filled in; a config
    may still set them.

    Args:
        grid: x, y, z of the :class:`BEVGrid`, each ``(lower, upper, cell)``, metres.
        depth_bins: start, stop, step (and plane) of the :class:`DepthBins`, metres.
        image_size: ``(H, W)`` of the network's input, pixels.
        image_encoder: config of an :class:`ImageEncoder`.
        depth: config of a :class:`DepthEstimator`.
        view_transform: config of a :class:`LiftSplat`.
        temporal: config of a :class:`TemporalEncoder`; it says how many moments are used.
        heads: name -> config of a :class:`BEVHead`.
        frozen: names of parts that do not train, such as ``temporal.encoder`` or
            ``heads.boxes.task_heads``; their normalisation keeps its statistics.
        test_time_flips: mirrors to predict with, ``image``, ``x``, ``y`` of :class:`FlipAverage`.
    """

    heads: Mapping[str, BEVHead]  # torch's ModuleDict does not tell the type of its values

    def __init__(
        self,
        grid: Mapping,
        depth_bins: Mapping,
        image_size: Sequence[int],
        image_encoder: dict,
        depth: dict,
        view_transform: dict,
        temporal: dict,
        heads: Mapping[str, dict],
        frozen: Sequence[str] = (),
        test_time_flips: Mapping | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.image_size = tuple(image_size)
        self.image_encoder = MODELS.build(image_encoder)
        stride, coarsest = self.image_encoder.stride, self.image_encoder.coarsest_stride
        if any(side % coarsest for side in image_size):
            raise ValueError(f"image_size must be multiples of {coarsest} pixels, got {image_size}")
        geometry = dict(grid=grid, depth_bins=depth_bins, image_size=image_size, stride=stride)
        self.view_transform = MODELS.build(view_transform, default_args=geometry)
        features = dict(bins=depth_bins, in_channels=self.image_encoder.out_channels, stride=stride)
        self.depth = MODELS.build(depth, default_args=features)
        context = dict(in_channels=self.depth.context_channels)
        self.temporal = MODELS.build(temporal, default_args=context)
        encoded = dict(in_channels=self.temporal.encoder.out_channels, grid=grid)
        built = {name: MODELS.build(head, default_args=encoded) for name, head in heads.items()}
        self.heads = cast(Mapping[str, BEVHead], ModuleDict(built))
        self.flip_average = FlipAverage(grid, **(test_time_flips or {}))
        self.frozen = tuple(frozen)
        freeze(self, self.frozen)

    def forward_bev(
        self,
        images: Tensor,  # [B, S, N, 3, H, W]
        rig: CameraRig,
    ) -> tuple[Tensor, list[Perception]]:
        """The encoded BEV map ``[B, C, Y, X]``, and each moment's perception, key first."""
        moments = self.depth_over_time(images, rig)
        bevs = [self.splat(moments[0])]  # [B, C, Y, X]
        with self.temporal.in_the_past():
            bevs += [self.splat(moment) for moment in moments[1:]]
        return self.temporal(bevs), moments

    def depth_over_time(
        self,
        images: Tensor,  # [B, S, N, 3, H, W]
        rig: CameraRig,
    ) -> list[Perception]:
        """Depth and context of the moments that the model uses, key frame first."""
        key, *past = self._views(images, rig)
        moments = [self.depth(key)]
        with self.temporal.in_the_past():
            moments += [self.depth(view) for view in past]
        return moments

    def perceive(
        self,
        images: Tensor,  # [B, N, 3, H, W]
        cameras: Cameras,  # of this moment
        key: Cameras | None = None,  # of the key frame; None: this is the key frame
        past: Sequence[View] = (),  # newest first
    ) -> Perception:
        """From the images of one moment to depth and context."""
        features = self.image_encoder(images)  # [B, N, C, H / stride, W / stride]
        return self.depth(View(images, features, cameras, key or cameras, tuple(past)))

    def splat(self, moment: Perception) -> Tensor:
        """One moment's BEV map ``[B, C, Y, X]``, in the ego frame that its cameras are posed in."""
        return self.view_transform(moment.lifted, moment.context, moment.cameras)

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]) -> dict:
        """Losses of the heads and of the depth."""
        images, rig = self._inputs(batch_inputs_dict, batch_data_samples)
        bev, moments = self.forward_bev(images, rig)
        losses = {}
        for name, head in self.heads.items():
            for part, value in head.losses(head.outputs(bev), batch_data_samples).items():
                losses[f"{part}_{name}" if part in losses else part] = value
        return losses | self.depth.loss(moments, batch_inputs_dict)

    def predict(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]
    ) -> list[Det3DDataSample]:
        """The heads' predictions (``pred_instances_3d``) and depth (``pred_depths``; over time
        where the inputs have ``past_depth``), written into the samples: see ``add_predictions`` of
        the heads and of the :class:`DepthEstimator`.
        """
        images, rig = self._inputs(batch_inputs_dict, batch_data_samples)
        bev, moments = self.forward_bev(images, rig)
        outputs = self.flip_average(self._outputs(bev), self.heads, self._run, images, rig)
        for name, head in self.heads.items():
            head.add_predictions(outputs[name], batch_data_samples)
        self.depth.add_predictions(moments, batch_inputs_dict, batch_data_samples)
        return batch_data_samples

    def train(self, mode: bool = True) -> BEVDepth:
        """Set the training mode; frozen parts stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self

    def extract_feat(self, batch_inputs: Tensor) -> Tensor:
        """Image features, as :class:`ImageEncoder` returns them; mmdet3d's name for it."""
        return self.image_encoder(batch_inputs)

    def _forward(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]) -> dict:
        return self._run(*self._inputs(batch_inputs_dict, batch_data_samples))

    def _run(self, images: Tensor, rig: CameraRig) -> dict[str, Any]:
        return self._outputs(self.forward_bev(images, rig)[0])

    def _outputs(self, bev: Tensor) -> dict[str, Any]:
        return {name: head.outputs(bev) for name, head in self.heads.items()}

    def _views(self, images: Tensor, rig: CameraRig) -> list[View]:
        """The moments that the model uses, key frame first; each knows those before it."""
        num_frames = self.temporal.num_frames
        features = [self.image_encoder(images[:, 0])]
        with self.temporal.in_the_past():
            features += [self.image_encoder(images[:, t]) for t in range(1, num_frames)]
        key, views = rig.moment(0), []
        for t in reversed(range(num_frames)):
            views.insert(0, View(images[:, t], features[t], rig.moment(t), key, tuple(views)))
        return views

    def _inputs(
        self, inputs: Mapping[str, Tensor], samples: Sequence[Det3DDataSample]
    ) -> tuple[Tensor, CameraRig]:
        return images_and_rig(inputs, samples, self.image_size, self.temporal.num_frames)
