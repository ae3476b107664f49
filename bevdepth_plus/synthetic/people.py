"""People on foot and on two wheels, each facing +x."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bevdepth_plus.synthetic.mesh import Colour, Material, Mesh, MeshBuilder
from bevdepth_plus.synthetic.palette import (
    CLOTHES,
    DARK,
    GLASS,
    HEAD_LAMP,
    HUB,
    PAINTS,
    SKINS,
    STEEL,
    TAIL_LAMP,
    pick,
)


def _frame_bar(
    b: MeshBuilder, p: tuple[float, float], q: tuple[float, float], thick: float, colour: Colour
) -> None:
    """A bar in the x-z plane from p to q."""
    p_, q_ = np.array(p), np.array(q)
    normal = np.array([-(q_ - p_)[1], (q_ - p_)[0]]) / np.linalg.norm(q_ - p_) * thick / 2
    outline = [p_ - normal, q_ - normal, q_ + normal, p_ + normal]
    b.extruded([tuple(v) for v in outline], (-thick / 2, thick / 2), colour, Material.PAINT)


def _thin_wheel(b: MeshBuilder, x: float, radius: float, width: float) -> None:
    """A tyre seen as a ring of eight short bars with a hub, so that one looks through it."""
    angles = np.arange(9) * np.pi / 4 + np.pi / 8
    rim = radius * 0.96
    for a0, a1 in pairwise(angles):
        outline = [
            (x + r * np.cos(a), radius + r * np.sin(a))
            for r, a in ((rim, a0), (rim, a1), (0.80 * rim, a1), (0.80 * rim, a0))
        ]
        b.extruded(outline, (-width / 2, width / 2), (0.05, 0.05, 0.05), Material.MATTE)
    for a in angles[:4]:
        _frame_bar(
            b,
            (x + 0.8 * rim * np.cos(a), radius + 0.8 * rim * np.sin(a)),
            (x - 0.8 * rim * np.cos(a), radius - 0.8 * rim * np.sin(a)),
            0.02,
            HUB,
        )


def _rider(
    b: MeshBuilder,
    seat: tuple[float, float],
    lean: float,
    rng: np.random.Generator,
    pedal: tuple[float, float],
    bar: tuple[float, float],
) -> None:
    """A seated person with a helmet, leaning forwards."""
    shirt, trousers = pick(CLOTHES, rng), pick(CLOTHES[:4], rng)
    x, z = seat
    shoulder = (x + lean, z + 0.52)
    b.extruded(
        [
            (x - 0.14, z),
            (x + 0.14, z),
            (shoulder[0] + 0.12, shoulder[1]),
            (shoulder[0] - 0.12, shoulder[1]),
        ],
        (-0.20, 0.20),
        shirt,
        Material.MATTE,
    )
    head = shoulder[0] + 0.06
    b.cone((head, 0.0), (shoulder[1], shoulder[1] + 0.14), (0.07, 0.10), pick(SKINS, rng))
    b.cone(
        (head, 0.0),
        (shoulder[1] + 0.14, shoulder[1] + 0.29),
        (0.13, 0.08),
        pick(CLOTHES, rng),
        Material.PAINT,
    )
    for side in (-1, 1):
        leg = tuple(sorted((side * 0.08, side * 0.20)))
        knee = (x + 0.38, z - 0.10)
        b.extruded(
            [
                (x - 0.05, z - 0.06),
                (knee[0], knee[1] - 0.08),
                (knee[0], knee[1] + 0.08),
                (x - 0.05, z + 0.10),
            ],
            leg,
            trousers,
            Material.MATTE,
        )
        b.extruded(
            [
                (pedal[0] - 0.06, pedal[1]),
                (pedal[0] + 0.14, pedal[1]),
                (knee[0] + 0.02, knee[1] + 0.06),
                (knee[0] - 0.13, knee[1] + 0.02),
            ],
            leg,
            trousers,
            Material.MATTE,
        )
        arm = tuple(sorted((side * 0.20, side * 0.30)))
        b.extruded(
            [
                (shoulder[0] - 0.06, shoulder[1] - 0.12),
                (bar[0] - 0.02, bar[1] - 0.04),
                (bar[0], bar[1] + 0.06),
                (shoulder[0] + 0.04, shoulder[1]),
            ],
            arm,
            shirt,
            Material.MATTE,
        )


def bicycle(rng: np.random.Generator, rider: bool = True) -> Mesh:
    """Two thin spoked wheels, a diamond frame, a handlebar in front; with or without rider."""
    b = MeshBuilder()
    paint = pick(PAINTS, rng)
    for x in (-0.52, 0.52):
        _thin_wheel(b, x, 0.34, 0.06)
    for p, q in [
        ((-0.52, 0.34), (-0.05, 0.32)),
        ((-0.05, 0.32), (0.40, 0.82)),
        ((-0.05, 0.32), (-0.20, 0.86)),
        ((-0.20, 0.80), (0.40, 0.82)),
        ((-0.52, 0.34), (-0.20, 0.80)),
        ((0.52, 0.34), (0.38, 0.98)),
    ]:
        _frame_bar(b, p, q, 0.07, paint)
    b.box((-0.34, -0.06), (-0.08, 0.08), (0.86, 0.93), DARK)
    b.box((0.33, 0.40), (-0.30, 0.30), (0.98, 1.04), DARK)
    b.box((0.42, 0.47), (-0.05, 0.05), (0.86, 0.94), HEAD_LAMP, Material.LAMP)
    b.box((-0.58, -0.54), (-0.05, 0.05), (0.70, 0.78), TAIL_LAMP, Material.LAMP)
    if rider:
        _rider(b, (-0.20, 0.93), 0.26, rng, (-0.05, 0.24), (0.36, 1.03))
    return b.build()


def motorcycle(rng: np.random.Generator, rider: bool = True) -> Mesh:
    """Fat tyres, a tank and a seat, a lamp in front; with or without rider."""
    b = MeshBuilder()
    paint = pick(PAINTS, rng)
    for x in (-0.68, 0.70):
        b.wheel(x, (-0.09, 0.09), 0.34, HUB)
    b.extruded(
        [(-0.35, 0.28), (0.35, 0.28), (0.42, 0.62), (-0.40, 0.62)],
        (-0.17, 0.17),
        (0.20, 0.20, 0.22),
        Material.PAINT,
    )
    b.extruded([(-0.10, 0.60), (0.50, 0.62), (0.42, 0.95), (0.0, 0.90)], (-0.18, 0.18), paint)
    b.extruded(
        [(-0.95, 0.72), (-0.05, 0.62), (0.0, 0.80), (-0.98, 0.88)],
        (-0.15, 0.15),
        DARK,
        Material.MATTE,
    )
    b.extruded([(0.62, 0.36), (0.76, 0.36), (0.55, 1.05), (0.45, 1.05)], (-0.12, 0.12), STEEL)
    b.box((0.38, 0.46), (-0.38, 0.38), (1.02, 1.08), DARK)
    b.extruded(
        [(0.50, 0.88), (0.62, 0.88), (0.50, 1.25), (0.44, 1.25)], (-0.2, 0.2), GLASS, Material.GLASS
    )
    b.box((0.60, 0.68), (-0.12, 0.12), (0.78, 0.96), HEAD_LAMP, Material.LAMP)
    b.box((-1.03, -0.97), (-0.12, 0.12), (0.74, 0.84), TAIL_LAMP, Material.LAMP)
    if rider:
        _rider(b, (-0.25, 0.86), 0.22, rng, (0.0, 0.30), (0.42, 1.05))
    return b.build()


def pedestrian(rng: np.random.Generator, walking: bool = True) -> Mesh:
    """Legs (apart when walking), a torso with arms, a head with hair; the face is in front."""
    b = MeshBuilder()
    shirt, trousers, skin = pick(CLOTHES, rng), pick(CLOTHES[:4], rng), pick(SKINS, rng)
    hair = pick([(0.10, 0.08, 0.06), (0.35, 0.22, 0.10), (0.65, 0.50, 0.25)], rng)
    stride = 0.26 if walking else 0.03
    for side in (-1, 1):
        foot = side * stride
        y = tuple(sorted((side * 0.03, side * 0.17)))
        b.extruded(
            [(foot - 0.07, 0.06), (foot + 0.07, 0.06), (0.09, 0.86), (-0.09, 0.86)],
            y,
            trousers,
            Material.MATTE,
        )
        b.box((foot - 0.08, foot + 0.18), y, (0.0, 0.08), DARK)
        hand = -side * stride * 0.9
        y = tuple(sorted((side * 0.21, side * 0.31)))
        b.extruded(
            [(hand - 0.05, 0.80), (hand + 0.06, 0.80), (0.06, 1.42), (-0.06, 1.42)],
            y,
            shirt,
            Material.MATTE,
        )
    b.cone((0, 0), (0.82, 1.45), (0.19, 0.22), shirt, flat=(0.62, 1.0))
    b.cone((0, 0), (1.45, 1.52), (0.06, 0.06), skin)
    b.cone((0.02, 0), (1.50, 1.62), (0.09, 0.115), skin)
    b.cone((0.02, 0), (1.62, 1.69), (0.115, 0.11), skin)
    b.cone((-0.01, 0), (1.66, 1.77), (0.13, 0.07), hair)
    b.box((-0.13, -0.03), (-0.11, 0.11), (1.52, 1.70), hair)
    if rng.random() < 0.3:
        b.box((-0.30, -0.12), (-0.17, 0.17), (0.98, 1.42), pick(CLOTHES, rng))  # rucksack
    return b.build()
