"""The model's parts; importing this registers them in mmdet3d's registry."""

from bevdepth_plus.models.bev_encoder import BEVEncoder
from bevdepth_plus.models.center_head import BEVCenterHead
from bevdepth_plus.models.data_preprocessor import MultiViewPreprocessor
from bevdepth_plus.models.depth_net import DepthNet
from bevdepth_plus.models.depth_refinement import DepthRefinement
from bevdepth_plus.models.detector import BEVDepth
from bevdepth_plus.models.focal_branch import FocalBranch
from bevdepth_plus.models.metric_depth_head import MetricDepthHead
from bevdepth_plus.models.motion_head import MotionCenterHead
from bevdepth_plus.models.temporal_fusion import ConcatFusion
from bevdepth_plus.models.view_transform import LiftSplat

__all__ = [
    "BEVCenterHead",
    "BEVDepth",
    "BEVEncoder",
    "ConcatFusion",
    "DepthNet",
    "DepthRefinement",
    "FocalBranch",
    "LiftSplat",
    "MetricDepthHead",
    "MotionCenterHead",
    "MultiViewPreprocessor",
]
