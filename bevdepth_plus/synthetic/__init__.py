"""Synthetic driving scenes written in the nuScenes v1.0 format."""
