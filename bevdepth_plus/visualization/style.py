"""One look for all pictures: colours, line widths, fonts."""

from __future__ import annotations

# Sky blue and orange stay apart for every common kind of colour blindness (Okabe and Ito, 2008),
# brightened for a dark ground.
GROUND_TRUTH_COLOUR = "#4CC3FF"
PREDICTION_COLOUR = "#FF9F1C"

PAGE = "#0F1318"
PANEL = "#171C23"
GRID = "#39424E"
TEXT = "#E6EAF0"
MUTED_TEXT = "#98A3B3"
MAP_COLOURS = ("#3F6B57", "#E8D27A")  # of the layers, in their order
EGO_COLOUR = "#F2F4F7"
OUTLINE = "#000000"  # a thin dark rim keeps lines readable on a bright sky

LIDAR_COLOURS = ("#3A4350", "#EEF3FA")  # from the ground up
DEPTH_COLOURS = "turbo_r"  # near is warm, far is cold

FONT = "DejaVu Sans"  # comes with matplotlib
TITLE_SIZE, TEXT_SIZE, LABEL_SIZE = 15, 11, 9

PAGE_WIDTH = 1920  # pixels
GAP = 10  # pixels between panels
DPI = 100
