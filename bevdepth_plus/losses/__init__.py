"""Losses: a function first, then a short registered class."""

from bevdepth_plus.losses.bin_depth import BinDepthLoss, bin_depth_loss

__all__ = ["BinDepthLoss", "bin_depth_loss"]
