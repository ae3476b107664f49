"""What training needs beside mmengine; importing this registers it."""

from bevdepth_plus.engine.autocast import AutocastOptimWrapper
from bevdepth_plus.engine.hooks import MatchingCheckpointHook, NonFiniteLossHook, RandomStateHook

__all__ = ["AutocastOptimWrapper", "MatchingCheckpointHook", "NonFiniteLossHook", "RandomStateHook"]
