"""Scores: nuScenes detection metrics, depth metrics, and the files that carry results."""
