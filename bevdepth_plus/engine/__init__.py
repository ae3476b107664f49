"""What training needs beside mmengine; importing this registers it."""

from bevdepth_plus.engine.autocast import AutocastOptimWrapper
from bevdepth_plus.engine.hooks import MatchingCheckpointHook, NonFiniteLossHook, RandomStateHook
from bevdepth_plus.engine.runner import SurvivingRunner
from bevdepth_plus.engine.start_report import StartReportHook

__all__ = [
    "AutocastOptimWrapper",
    "MatchingCheckpointHook",
    "NonFiniteLossHook",
    "RandomStateHook",
    "StartReportHook",
    "SurvivingRunner",
]
