"""A detector without detection: image features and the metric depth head, nothing else."""

from __future__ import annotations

import torch
from mmdet3d.registry import MODELS
from mmdet3d.structures import Det3DDataSample, LiDARInstance3DBoxes
from mmengine.structures import InstanceData

from bevdepth_plus.geometry.canonical import key_focal
from bevdepth_plus.losses.bin_depth import nearest_depth
from bevdepth_plus.models.detector import BEVDepth
from bevdepth_plus.models.metric_depth_head import MetricDepth


@MODELS.register_module()
class DepthOnly(BEVDepth):
    """Trains and scores the metric depth head of a :class:`BEVDepth` config by itself."""

    def loss(self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]) -> dict:
        metric = self._metric(batch_inputs_dict, batch_data_samples)
        rig = self._rig(batch_data_samples).frame(0)
        return self.metric_depth_head.loss(metric, batch_inputs_dict["depth"], rig)

    def predict(
        self, batch_inputs_dict: dict, batch_data_samples: list[Det3DDataSample]
    ) -> list[Det3DDataSample]:
        metric = self._metric(batch_inputs_dict, batch_data_samples)
        labels = self._cell_depth(batch_inputs_dict["depth"])
        finer = self.view_transform.stride // self.metric_depth_head.stride
        maps = nearest_depth(metric.depth, finer)
        for sample, depth, label in zip(batch_data_samples, maps, labels, strict=True):
            sample.pred_depths, sample.gt_depth = {"metric": depth}, label
            sample.pred_instances_3d = InstanceData(
                bboxes_3d=LiDARInstance3DBoxes(torch.zeros(0, 9), box_dim=9),
                scores_3d=torch.zeros(0),
                labels_3d=torch.zeros(0, dtype=torch.long),
            )
        return batch_data_samples

    def _metric(self, inputs: dict, samples: list[Det3DDataSample]) -> MetricDepth:
        rig = self._rig(samples)
        features = self.extract_feat(self._frames(inputs["img"], rig)[:, 0])
        return self.metric_depth_head(features, key_focal(rig))
