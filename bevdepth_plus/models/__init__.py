"""The model's parts; importing this registers them in mmdet3d's registry."""

from bevdepth_plus.models.bev.bev_encoder import BEVEncoder
from bevdepth_plus.models.bev.depth_refinement import DepthRefinement
from bevdepth_plus.models.bev.frustum import Frustum
from bevdepth_plus.models.bev.temporal import ConcatFusion, TemporalEncoder
from bevdepth_plus.models.bev.view_transform import LiftSplat
from bevdepth_plus.models.data_preprocessor import MultiViewPreprocessor
from bevdepth_plus.models.depth.depth_net import DepthNet
from bevdepth_plus.models.depth.estimator import DepthEstimator
from bevdepth_plus.models.depth.focal_branch import FocalBranch
from bevdepth_plus.models.depth.map_losses import DepthMapLoss, TeacherDepth
from bevdepth_plus.models.depth.metric_prior import MetricDepthPrior
from bevdepth_plus.models.depth.over_time import MatchedDepthOverTime, PhotometricOverTime
from bevdepth_plus.models.depth.prior import DepthPrior
from bevdepth_plus.models.detector import BEVDepth
from bevdepth_plus.models.heads.center_head import BEVCenterHead
from bevdepth_plus.models.heads.head import BEVHead
from bevdepth_plus.models.heads.motion_head import MotionCenterHead
from bevdepth_plus.models.heads.segmentation_head import BEVSegmentationHead
from bevdepth_plus.models.image_encoder import ImageEncoder

__all__ = [
    "BEVCenterHead",
    "BEVDepth",
    "BEVEncoder",
    "BEVHead",
    "BEVSegmentationHead",
    "ConcatFusion",
    "DepthEstimator",
    "DepthMapLoss",
    "DepthNet",
    "DepthPrior",
    "DepthRefinement",
    "FocalBranch",
    "Frustum",
    "ImageEncoder",
    "LiftSplat",
    "MatchedDepthOverTime",
    "MetricDepthPrior",
    "MotionCenterHead",
    "MultiViewPreprocessor",
    "PhotometricOverTime",
    "TeacherDepth",
    "TemporalEncoder",
]
