"""The interface for new sources of depth: what a prior gets, and what it may return.

A prior is one class of this kind and one line in a config::

    depth=dict(type="DepthEstimator", priors=dict(my_prior=dict(type="MyPrior")))

It may change DepthNet's bins (:meth:`DepthPrior.log_bins`), add losses (:meth:`DepthPrior.loss`)
and report its own depth in metrics and pictures (:meth:`DepthPrior.maps`), each under the name it
has in the config. :class:`MetricDepthPrior` is an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bevdepth_plus.geometry.cameras import Cameras
from bevdepth_plus.geometry.depth_bins import DepthBins


@dataclass(frozen=True)
class View:
    """Inputs of the depth estimation of one moment.

    Attributes:
        images: of the network, normalised, ``[B, N, 3, H, W]``.
        features: of the images, ``[B, N, C, H / stride, W / stride]``; a prior's ``forward`` gets
            them with the ground cue as one channel more where the estimator has it.
        cameras: of this moment, posed in the *key frame's* ego.
        key: the key frame's cameras; the same as ``cameras`` in the key frame.
        past: the moments before this one, newest first; empty if there are none.
    """

    images: Tensor
    features: Tensor
    cameras: Cameras
    key: Cameras
    past: tuple[View, ...] = ()


class DepthPrior(nn.Module):
    """Base of all depth priors. Its methods return nothing; a prior overrides those it needs.

    Args:
        in_channels: of the features in a :class:`View`.
        stride: of the features, network pixels.

    The :class:`DepthEstimator` fills both in. ``loss`` gets back what ``forward`` returned.

    Attributes:
        single_image: the prediction of a camera follows from its own image and calibration, so a
            deployed model may run camera by camera. False where past frames or other cameras count.
        static_only: it learns from a world that stands still; labels of moving objects are kept
            from its ``loss`` where the pipeline marks them (``MovingObjectPixels``).
    """

    single_image: bool = True
    static_only: bool = False

    def forward(self, view: View) -> Any:
        """The prior's prediction of a moment; the estimator passes it to the other methods."""
        raise NotImplementedError(f"{type(self).__name__} must define forward(view)")

    def log_bins(self, prediction: Any, bins: DepthBins, cells: tuple[int, int]) -> Tensor | None:
        """Logarithmic weight of each metric bin, ``[B, N, D, H, W]`` on the feature cells.

        It is added to the logarithm of DepthNet's probabilities (Bayes' rule, up to a constant in
        each cell). None: the prior leaves the bins as they are.
        """
        return None

    def loss(
        self,
        prediction: Any,
        labels: Tensor,  # [B, N, H, W], metres, network pixels, 0 = none
        cameras: Cameras,
    ) -> dict[str, Tensor]:
        """Losses by name; they appear as ``loss_{prior}_{name}``."""
        return {}

    def maps(self, prediction: Any, cells: tuple[int, int]) -> Tensor | None:
        """Depth of each feature cell for metrics and pictures, metres, ``[B, N, H, W]``.

        0 where the prior says nothing; metrics leave these cells out.
        """
        return None

    def confidence(self, prediction: Any) -> Tensor | None:
        """Probability that the depth is right within 25 %, ``[B, N, H', W']``, where known."""
        return None
