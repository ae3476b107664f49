"""Losses: a function first, then a short registered class.

All losses of a depth map are called ``loss(pred, target, mask, intrinsics, generator)``, so that a
model can sum any set of them; those that need no camera or no random numbers ignore the argument.
Those between two frames are called ``loss(depth_t, depth_t1, correspondence, valid, generator)``.
Those of interest points, matches and triangulated points (depth from motion) take what they name.
"""

from bevdepth_plus.losses.bev_segmentation import BEVSegmentationLoss, bev_segmentation_loss
from bevdepth_plus.losses.bin_depth import BinDepthLoss, bin_depth_loss
from bevdepth_plus.losses.depth_l1 import DepthL1Loss, depth_l1_loss
from bevdepth_plus.losses.interest_points import (
    InterestPointLoss,
    RepeatabilityLoss,
    interest_point_loss,
    repeatability_loss,
)
from bevdepth_plus.losses.multi_scale_depth import (
    EdgeAwareSmoothnessLoss,
    MultiScaleDepthLoss,
    edge_aware_smoothness_loss,
    multi_scale_depth_loss,
)
from bevdepth_plus.losses.normal_consistency import (
    DepthNormalConsistencyLoss,
    depth_normal_consistency_loss,
)
from bevdepth_plus.losses.ordinal_depth import OrdinalDepthLoss, ordinal_depth_loss
from bevdepth_plus.losses.pairwise_normal import (
    PairwiseNormalLoss,
    edge_normal_loss,
    pairwise_normal_loss,
    plane_normal_loss,
)
from bevdepth_plus.losses.pearson_depth import PearsonDepthLoss, pearson_depth_loss
from bevdepth_plus.losses.photometric import PhotometricLoss, photometric_loss
from bevdepth_plus.losses.random_proposal import (
    RandomProposalNormalizationLoss,
    random_proposal_normalization_loss,
    sample_crops,
)
from bevdepth_plus.losses.silog import SILogLoss, silog_loss
from bevdepth_plus.losses.temporal_order import (
    MatchedDepthLoss,
    TemporalOrderLoss,
    matched_depths,
    temporal_order_loss,
)
from bevdepth_plus.losses.triangulated_points import (
    MatchLikelihoodLoss,
    MatchLoss,
    TriangulatedPointLoss,
    match_likelihood_loss,
    match_loss,
    triangulated_point_loss,
)
from bevdepth_plus.losses.triplets import sample_triplets
from bevdepth_plus.losses.virtual_normal import (
    VirtualNormalLoss,
    virtual_normal_loss,
    virtual_triplets,
)

__all__ = [
    "BEVSegmentationLoss",
    "BinDepthLoss",
    "DepthL1Loss",
    "DepthNormalConsistencyLoss",
    "EdgeAwareSmoothnessLoss",
    "InterestPointLoss",
    "MatchLikelihoodLoss",
    "MatchLoss",
    "MatchedDepthLoss",
    "MultiScaleDepthLoss",
    "OrdinalDepthLoss",
    "PairwiseNormalLoss",
    "PearsonDepthLoss",
    "PhotometricLoss",
    "RandomProposalNormalizationLoss",
    "RepeatabilityLoss",
    "SILogLoss",
    "TemporalOrderLoss",
    "TriangulatedPointLoss",
    "VirtualNormalLoss",
    "bev_segmentation_loss",
    "bin_depth_loss",
    "depth_l1_loss",
    "depth_normal_consistency_loss",
    "edge_aware_smoothness_loss",
    "edge_normal_loss",
    "interest_point_loss",
    "match_likelihood_loss",
    "match_loss",
    "matched_depths",
    "multi_scale_depth_loss",
    "ordinal_depth_loss",
    "pairwise_normal_loss",
    "pearson_depth_loss",
    "photometric_loss",
    "plane_normal_loss",
    "random_proposal_normalization_loss",
    "repeatability_loss",
    "sample_crops",
    "sample_triplets",
    "silog_loss",
    "temporal_order_loss",
    "triangulated_point_loss",
    "virtual_normal_loss",
    "virtual_triplets",
]
