"""The description of a detector's exported graphs, before they are written and verified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from bevdepth_plus import __version__
from bevdepth_plus.deploy.description import Decoding, FrustumAxes, Grid, ModelDescription
from bevdepth_plus.deploy.translations import DEFORMABLE
from bevdepth_plus.models.depth.depth_net import DeformableConv
from bevdepth_plus.models.detector import BEVDepth
from bevdepth_plus.models.heads.center_head import BEVCenterHead
from bevdepth_plus.models.heads.segmentation_head import BEVSegmentationHead

CAMERA_RANGE = (1, 32)


def describe(
    detector: BEVDepth,
    form: str,
    deformable: str,
    config: str,
    classes: Sequence[str],
) -> ModelDescription:
    """What ``model.json`` says of this detector; files and verification are still missing.

    Args:
        form, deformable: as in :func:`export.export_graphs`.
        config: its name.
        classes: of the labels, in their order.
    """
    frustum, depth = detector.view_transform.frustum, detector.depth
    heads = list(detector.heads.values())
    boxes = next((head for head in heads if isinstance(head, BEVCenterHead)), None)
    layers = next((head.layers for head in heads if isinstance(head, BEVSegmentationHead)), ())
    deforms = any(isinstance(module, DeformableConv) for module in detector.modules())
    preprocessor: Any = detector.data_preprocessor
    return ModelDescription(
        form=form,
        project_version=__version__,
        config=config,
        opset=DEFORMABLE[deformable],
        deformable=deformable if deforms else None,
        classes=tuple(classes),
        tasks=tuple(tuple(names) for names in boxes.class_names) if boxes else (),
        outputs=tuple(output_names(detector)),
        map_layers=tuple(layers),
        grid=Grid(*(tuple(map(float, axis)) for axis in frustum.grid.axes)),
        frustum=FrustumAxes(
            *(tuple(axis.tolist()) for axis in (frustum.u, frustum.v, frustum.depths)),
            rounding=frustum.rounding,
        ),
        depth_bins=(float(depth.bins.start), float(depth.bins.stop), float(depth.bins.step)),
        image_size=tuple(detector.image_size),
        stride=depth.stride,
        num_frames=detector.temporal.num_frames,
        context_channels=depth.context_channels,
        camera_range=CAMERA_RANGE,
        refined=detector.view_transform.refinement is not None,
        mean=_in_rgb(preprocessor.mean, preprocessor.to_rgb),
        std=_in_rgb(preprocessor.std, preprocessor.to_rgb),
        decoding=_decoding(boxes) if boxes else None,
        files=(),
    )


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
