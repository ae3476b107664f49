"""Cars, trucks, trailers, buses and construction machines, each facing +x."""

from __future__ import annotations

import numpy as np

from bevdepth_plus.synthetic.mesh import Material, Mesh, MeshBuilder
from bevdepth_plus.synthetic.palette import (
    AMBER,
    DARK,
    GLASS,
    HEAD_LAMP,
    HUB,
    PAINTS,
    STEEL,
    TAIL_LAMP,
    pick,
)


def _lamps(
    b: MeshBuilder,
    front: float,
    rear: float,
    half: float,
    z: tuple[float, float],
    width: float = 0.34,
) -> None:
    """White lamps in front, red ones behind, at both edges."""
    for side in (-1, 1):
        y = sorted((side * (half - width), side * half))
        b.box((front - 0.04, front), (y[0], y[1]), z, HEAD_LAMP, Material.LAMP)
        b.box((rear, rear + 0.04), (y[0], y[1]), z, TAIL_LAMP, Material.LAMP)


def _axle(b: MeshBuilder, x: float, half: float, radius: float, width: float = 0.24) -> None:
    b.wheel(x, (-half, -half + width), radius, HUB)
    b.wheel(x, (half - width, half), radius, HUB)


def car(rng: np.random.Generator) -> Mesh:
    """A saloon, an estate or a small van: bonnet in front, glass cabin, lamps, plates."""
    b = MeshBuilder()
    paint = pick(PAINTS, rng)
    style = int(rng.integers(3))
    # (x, z) outlines; the cabin's slanted wind screen and shorter rear tell the direction
    b.extruded(
        [
            (-2.26, 0.28),
            (2.22, 0.28),
            (2.27, 0.50),
            (2.20, 0.78),
            (1.15, 0.97),
            (-2.05, 1.02),
            (-2.27, 0.85),
        ],
        (-0.92, 0.92),
        paint,
        Material.PAINT,
    )
    rear = {0: (-1.55, -1.00), 1: (-2.15, -1.85), 2: (-2.18, -2.02)}[style]
    front = {0: (1.05, 0.30), 1: (1.05, 0.35), 2: (1.45, 0.85)}[style]
    roof = {0: 1.50, 1: 1.55, 2: 1.78}[style]
    glass = (GLASS, Material.GLASS)
    b.extruded(
        [(rear[0], 1.00), (front[0], 0.96), (front[1], roof), (rear[1], roof)],
        (-0.86, 0.86),
        paint,
        Material.PAINT,
        {1: glass, 3: glass},
        glass,
        taper=0.14,
    )
    for x in {0: [0.0], 1: [0.0, -1.2], 2: [0.1, -1.1]}[style]:  # door pillars on the lean side
        for side in (-1, 1):
            b.face(
                [
                    (x - 0.05, side * 0.866, 0.97),
                    (x + 0.05, side * 0.866, 0.97),
                    (x + 0.05, side * 0.726, roof),
                    (x - 0.05, side * 0.726, roof),
                ],
                paint,
                Material.PAINT,
            )
    _lamps(b, 2.31, -2.31, 0.86, (0.62, 0.78))
    b.box((2.25, 2.29), (-0.5, 0.5), (0.38, 0.60), DARK)  # grille
    b.box((-2.30, -2.26), (-0.28, 0.28), (0.55, 0.68), (0.9, 0.9, 0.85))  # plate
    for x in (-1.38, 1.40):
        _axle(b, x, 0.93, 0.33)
    for side in (-1, 1):  # mirrors
        y = sorted((side * 0.90, side * 0.99))
        b.box((0.75, 0.90), (y[0], y[1]), (0.98, 1.12), paint, Material.PAINT)
    return b.build()


def truck(rng: np.random.Generator) -> Mesh:
    """A cab in front and a cargo box, or an open bed, behind."""
    b = MeshBuilder()
    paint = pick(PAINTS, rng)
    cargo = pick([(0.88, 0.88, 0.86), (0.75, 0.78, 0.80), (0.70, 0.62, 0.45), paint], rng)
    glass = (GLASS, Material.GLASS)
    b.box((-3.4, 3.3), (-0.55, 0.55), (0.50, 0.80), DARK)  # frame
    b.extruded([(1.55, 0.55), (3.42, 0.55), (3.46, 1.20), (1.55, 1.25)], (-1.15, 1.15), paint)
    b.extruded(
        [(1.55, 1.25), (3.46, 1.20), (3.12, 2.15), (1.55, 2.15)],
        (-1.15, 1.15),
        paint,
        Material.PAINT,
        {1: glass},
        glass,
        taper=0.06,
    )
    b.box((1.50, 1.85), (-1.13, 1.13), (1.2, 2.2), paint, Material.PAINT)
    if rng.random() < 0.75:
        b.box((-3.42, 1.35), (-1.24, 1.24), (0.85, 2.84), cargo, Material.RIBS, (0.7, 0.7, 0.7))
        b.box((-3.44, -3.42), (-0.03, 0.03), (0.9, 2.78), DARK)  # rear door gap
    else:
        b.box((-3.42, 1.35), (-1.24, 1.24), (0.85, 1.55), cargo, Material.RIBS, (0.3, 0.25, 0.2))
        b.box((-3.0, 0.9), (-1.0, 1.0), (1.5, 2.84), (0.45, 0.36, 0.25), Material.MATTE)
    _lamps(b, 3.50, -3.46, 1.12, (0.66, 0.84))
    for x in (2.55, -2.25):
        _axle(b, x, 1.20, 0.48, 0.32)
    return b.build()


def trailer(rng: np.random.Generator) -> Mesh:
    """A long box on rear wheels, legs and a coupling in front, no cab."""
    b = MeshBuilder()
    cargo = pick(
        [(0.82, 0.84, 0.86), (0.20, 0.35, 0.60), (0.60, 0.20, 0.15), (0.30, 0.45, 0.35)], rng
    )
    b.box((-6.0, 6.0), (-1.45, 1.45), (1.15, 3.85), cargo, Material.RIBS, (0.75, 0.75, 0.75))
    b.box((-6.0, 6.05), (-1.42, 1.42), (1.0, 1.15), DARK)
    b.box((-6.06, -6.0), (-1.4, 1.4), (1.15, 1.45), (0.85, 0.15, 0.1), Material.STRIPES)
    for side in (-1, 1):
        y = sorted((side * 1.05, side * 1.4))
        b.box((-6.10, -6.04), (y[0], y[1]), (1.02, 1.13), TAIL_LAMP, Material.LAMP)
        y = sorted((side * 0.9, side * 1.05))
        b.box((3.3, 3.5), (y[0], y[1]), (0.0, 1.0), STEEL)  # landing legs
        for x in (-4.0, -1.5, 1.0, 3.5):
            y = sorted((side * 1.44, side * 1.47))
            b.box((x, x + 0.15), (y[0], y[1]), (1.02, 1.12), AMBER, Material.LAMP)
    for x in (-5.0, -3.7):
        _axle(b, x, 1.42, 0.5, 0.4)
    b.box((-3.0, 2.8), (-1.40, 1.40), (0.45, 0.85), (0.30, 0.31, 0.33))  # side guards
    return b.build()


def bus(rng: np.random.Generator) -> Mesh:
    """A long body with a window band, a large wind screen and a destination sign."""
    b = MeshBuilder()
    paint = pick(
        [
            (0.80, 0.12, 0.10),
            (0.10, 0.35, 0.60),
            (0.85, 0.72, 0.10),
            (0.15, 0.50, 0.30),
            (0.85, 0.85, 0.85),
        ],
        rng,
    )
    trim = (0.92, 0.92, 0.90)
    b.box((-5.5, 5.5), (-1.45, 1.45), (0.35, 1.35), paint, Material.PAINT)
    b.box((-5.5, 5.48), (-1.43, 1.43), (1.35, 2.55), GLASS, Material.GLASS)
    b.box((-5.5, 5.5), (-1.45, 1.45), (2.55, 3.25), trim, Material.PAINT, (0.85, 0.85, 0.85))
    b.box((-3.6, -1.2), (-0.8, 0.8), (3.25, 3.47), (0.8, 0.8, 0.8))  # air conditioning
    for x in np.arange(-5.45, 5.0, 1.5):  # pillars
        b.box((x, x + 0.16), (-1.44, 1.44), (1.35, 2.55), paint, Material.PAINT)
    b.box((5.40, 5.53), (-1.0, 1.0), (2.68, 3.05), AMBER, Material.LAMP)
    b.box((-5.53, -5.4), (-1.3, 1.3), (1.3, 1.9), paint, Material.PAINT)
    b.box((-5.54, -5.5), (-0.9, 0.9), (0.6, 1.2), DARK)  # engine grille
    for x in (-3.2, 2.2):  # doors on the kerb side
        b.box((x, x + 1.1), (-1.465, -1.44), (0.42, 2.45), (0.12, 0.13, 0.15), Material.GLASS)
    _lamps(b, 5.56, -5.56, 1.38, (0.62, 0.85), 0.42)
    for x in (-3.4, 3.6):
        _axle(b, x, 1.47, 0.5, 0.3)
    return b.build()


def construction_vehicle(rng: np.random.Generator) -> Mesh:
    """A yellow machine with tracks or big wheels, a cab and an arm with a shovel."""
    b = MeshBuilder()
    yellow = pick([(0.92, 0.62, 0.05), (0.90, 0.45, 0.05), (0.95, 0.75, 0.10)], rng)
    glass = (GLASS, Material.GLASS)
    if rng.random() < 0.5:
        for side in (-1, 1):
            y = tuple(sorted((side * 0.75, side * 1.40)))
            b.extruded(
                [(-2.3, 0.0), (1.0, 0.0), (1.5, 0.4), (1.3, 0.85), (-2.6, 0.85), (-2.8, 0.4)],
                y,
                (0.13, 0.12, 0.11),
                Material.RIBS,
            )
    else:
        for x in (-1.9, 0.6):
            _axle(b, x, 1.40, 0.75, 0.5)
    b.box((-2.9, 1.1), (-1.25, 1.25), (0.9, 1.55), yellow, Material.PAINT)
    b.box((-3.18, -1.2), (-1.2, 1.2), (1.2, 2.2), yellow, Material.PAINT)  # engine
    b.box((-3.2, -3.18), (-0.9, 0.9), (1.4, 1.9), DARK)
    b.extruded(
        [(-0.9, 1.55), (0.9, 1.55), (0.65, 3.1), (-0.8, 3.1)],
        (-0.1, 1.2),
        GLASS,
        Material.GLASS,
        {2: (yellow, Material.PAINT)},
        glass,
        taper=0.05,
    )
    b.box((-0.95, -0.75), (-0.12, 1.22), (1.5, 3.19), yellow, Material.PAINT)
    b.box((-0.1, 0.1), (0.45, 0.65), (3.1, 3.25), AMBER, Material.LAMP)
    # arm: up and forward, then down to the shovel
    b.extruded([(0.5, 1.3), (0.9, 1.2), (2.35, 2.75), (2.0, 3.0)], (-0.75, -0.4), yellow)
    b.extruded([(1.95, 3.05), (2.05, 2.6), (3.0, 0.9), (3.15, 1.1)], (-0.72, -0.43), yellow)
    b.extruded(
        [(2.55, 0.25), (3.18, 0.15), (3.18, 1.1), (2.75, 1.0)], (-1.05, 0.1), (0.35, 0.33, 0.30)
    )
    return b.build()
