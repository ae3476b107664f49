"""Depth: an estimator that brings DepthNet's bins and any number of priors together."""
