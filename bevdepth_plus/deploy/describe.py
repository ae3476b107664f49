"""What a detector is, in the words of ``model.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from torch import Tensor

from bevdepth_plus import __version__
from bevdepth_plus.classes import CLASSES
from bevdepth_plus.datasets.pipeline import steps
from bevdepth_plus.datasets.transforms import ImageAugmentation
from bevdepth_plus.deploy.description import Decoding, FrustumAxes, ModelDescription
from bevdepth_plus.geometry.grid_axes import GridAxes
from bevdepth_plus.models.depth.depth_net import DeformableConv
from bevdepth_plus.models.detector import BEVDepth
from bevdepth_plus.models.heads.center_head import BEVCenterHead
from bevdepth_plus.models.heads.segmentation_head import BEVSegmentationHead
from bevdepth_plus.rigs.crop_rule import CropRule

CAMERA_RANGE = (1, 32)
KEY_FRAME_INTERVAL = 0.5  # seconds between nuScenes' key frames


def describe(
    detector: BEVDepth,
    cfg: Config,
    config: str,
    form: str = "torch",
    deformable: str | None = None,
    opset: int = 0,
) -> ModelDescription:
    """The description of a detector, or of the graphs that it becomes.

    Args:
        detector: in evaluation mode.
        cfg: that it was built from; classes and the crop of its images are its test data's.
        config: its name.
        form: of the exported graphs, ``torch`` for the detector itself.
        deformable: what a deformable convolution became.
        opset: of ONNX's operators.
    """
    frustum, depth = detector.view_transform.frustum, detector.depth
    heads = list(detector.heads.values())
    boxes = next((head for head in heads if isinstance(head, BEVCenterHead)), None)
    layers = next((head.layers for head in heads if isinstance(head, BEVSegmentationHead)), ())
    deforms = any(isinstance(module, DeformableConv) for module in detector.modules())
    preprocessor: Any = detector.data_preprocessor
    dataset = cfg.test_dataloader.dataset
    return ModelDescription(
        form=form,
        project_version=__version__,
        config=config,
        opset=opset,
        deformable=deformable if deforms else None,
        classes=tuple(dataset.get("metainfo", {}).get("classes", CLASSES)),
        tasks=tuple(tuple(names) for names in boxes.class_names) if boxes else (),
        outputs=tuple(output_names(detector)),
        map_layers=tuple(layers),
        grid=GridAxes(*(tuple(map(float, axis)) for axis in frustum.grid.axes)),
        frustum=FrustumAxes(
            *(tuple(axis.tolist()) for axis in (frustum.u, frustum.v, frustum.depths)),
            rounding=frustum.rounding,
        ),
        depth_bins=(float(depth.bins.start), float(depth.bins.stop), float(depth.bins.step)),
        image_size=tuple(detector.image_size),
        crop=crop_rule(dataset.get("pipeline", ()), detector.image_size),
        stride=depth.stride,
        num_frames=detector.temporal.num_frames,
        frame_interval=float(dataset.get("frame_interval") or KEY_FRAME_INTERVAL),
        context_channels=depth.context_channels,
        camera_range=CAMERA_RANGE,
        refined=detector.view_transform.refinement is not None,
        mean=_in_rgb(preprocessor.mean, preprocessor.to_rgb),
        std=_in_rgb(preprocessor.std, preprocessor.to_rgb),
        decoding=_decoding(boxes) if boxes else None,
        files=(),
    )


def crop_rule(pipeline: Any, image_size: tuple[int, ...]) -> CropRule:
    """How a test pipeline brings images to the network's size."""
    for step in steps(pipeline):
        if isinstance(step, Mapping) and step.get("type") == ImageAugmentation.__name__:
            options = {name: value for name, value in step.items() if name != "type"}
            return ImageAugmentation(**{**options, "training": False}).rule
    return CropRule((image_size[0], image_size[1]))


def output_names(detector: BEVDepth) -> list[str]:
    """Names of the heads' maps, in the order of :func:`parts.named_maps`."""
    names = []
    for name, head in detector.heads.items():
        if isinstance(head, BEVCenterHead):
            for index, task in enumerate(head.task_heads):
                names += [f"task{index}.{part}" for part in task.heads]
        else:
            names.append(name)
    return names


def _decoding(head: Any) -> Decoding:
    coder, settings = head.bbox_coder, head.test_cfg
    limits = coder.post_center_range
    return Decoding(
        nms_type=settings["nms_type"],
        squared_radii=tuple(float(radius) for radius in settings.get("min_radius", ())),
        max_per_task=int(settings["post_max_size"]),
        num_candidates=int(coder.max_num),
        score_threshold=float(coder.score_threshold or 0.0),
        centre_limits=tuple(float(limit) for limit in limits),
        log_sizes=bool(head.norm_bbox),
    )


def _in_rgb(values: Tensor, to_rgb: bool) -> tuple[float, ...]:
    """Per channel of an RGB image; the network's own order is BGR without ``to_rgb``."""
    in_order = values.flatten().tolist()
    return tuple(in_order if to_rgb else in_order[::-1])
