"""Colours of the objects, RGB 0..1."""

from __future__ import annotations

import numpy as np

from bevdepth_plus.synthetic.mesh import Colour

PAINTS: list[Colour] = [
    (0.85, 0.86, 0.88),
    (0.12, 0.12, 0.14),
    (0.55, 0.57, 0.60),
    (0.62, 0.08, 0.08),
    (0.08, 0.18, 0.45),
    (0.10, 0.30, 0.20),
    (0.80, 0.70, 0.45),
    (0.30, 0.33, 0.38),
    (0.75, 0.35, 0.08),
    (0.35, 0.55, 0.72),
]
CLOTHES: list[Colour] = [
    (0.70, 0.15, 0.15),
    (0.15, 0.25, 0.60),
    (0.10, 0.10, 0.12),
    (0.80, 0.80, 0.78),
    (0.20, 0.45, 0.25),
    (0.75, 0.60, 0.20),
    (0.45, 0.25, 0.50),
    (0.85, 0.45, 0.30),
]
SKINS: list[Colour] = [(0.85, 0.65, 0.52), (0.60, 0.42, 0.30), (0.38, 0.25, 0.18)]
GLASS: Colour = (0.07, 0.09, 0.11)
DARK: Colour = (0.06, 0.06, 0.07)
STEEL: Colour = (0.45, 0.46, 0.48)
HEAD_LAMP: Colour = (1.0, 0.98, 0.90)
TAIL_LAMP: Colour = (0.90, 0.05, 0.05)
AMBER: Colour = (1.0, 0.60, 0.05)
HUB: Colour = (0.55, 0.56, 0.58)


def pick(colours: list[Colour], rng: np.random.Generator) -> Colour:
    """One of the colours."""
    return colours[int(rng.integers(len(colours)))]
