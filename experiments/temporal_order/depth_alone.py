"""The depth of a detector without the detector: no BEV map, no boxes."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from bevdepth_plus.models.detector import BEVDepth


@MODELS.register_module()
class DepthAlone(BEVDepth):
    """Image encoder and depth estimator of a :class:`BEVDepth`, with its options and names.

    It trains in a fraction of the detector's time, and predicts depth but no boxes.
    """

    def __init__(self, **detector) -> None:
        super().__init__(**detector)
        del self.heads, self.view_transform, self.temporal.encoder, self.temporal.fusion

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]) -> dict:
        """The losses of the depth."""
        moments = self.depth_over_time(*self._inputs(batch_inputs_dict, batch_data_samples))
        return self.depth.loss(moments, batch_inputs_dict)

    def predict(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]
    ) -> list[Det3DDataSample]:
        """Depth, and no boxes, as the metric expects."""
        moments = self.depth_over_time(*self._inputs(batch_inputs_dict, batch_data_samples))
        self.depth.add_predictions(moments, batch_inputs_dict, batch_data_samples)
        for sample in batch_data_samples:
            sample.pred_instances_3d = InstanceData(
                bboxes_3d=LiDARInstance3DBoxes(torch.zeros(0, 9), box_dim=9),
                scores_3d=torch.zeros(0),
                labels_3d=torch.zeros(0, dtype=torch.long),
            )
        return batch_data_samples
