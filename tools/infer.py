#!/usr/bin/env python
"""Boxes of your own images; see bevdepth_plus/deploy/infer.py."""

from __future__ import annotations

from bevdepth_plus.deploy.command_line import run_light_tool
from bevdepth_plus.deploy.infer import main

if __name__ == "__main__":
    run_light_tool(main)
