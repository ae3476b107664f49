"""What the ten detection classes look like: one function a class, each facing +x.

Every function draws at a natural size; :func:`object_mesh` then fits the result into the
annotated box, so that a box is exactly as large as what it holds.
"""

from __future__ import annotations

import numpy as np

from bevdepth_plus.synthetic.mesh import Colour, Material, Mesh, MeshBuilder

PAINTS: list[Colour] = [
    (0.85, 0.86, 0.88), (0.12, 0.12, 0.14), (0.55, 0.57, 0.60), (0.62, 0.08, 0.08),
    (0.08, 0.18, 0.45), (0.10, 0.30, 0.20), (0.80, 0.70, 0.45), (0.30, 0.33, 0.38),
    (0.75, 0.35, 0.08), (0.35, 0.55, 0.72),
]
CLOTHES: list[Colour] = [
    (0.70, 0.15, 0.15), (0.15, 0.25, 0.60), (0.10, 0.10, 0.12), (0.80, 0.80, 0.78),
    (0.20, 0.45, 0.25), (0.75, 0.60, 0.20), (0.45, 0.25, 0.50), (0.85, 0.45, 0.30),
]
SKINS: list[Colour] = [(0.85, 0.65, 0.52), (0.60, 0.42, 0.30), (0.38, 0.25, 0.18)]
GLASS: Colour = (0.07, 0.09, 0.11)
DARK: Colour = (0.06, 0.06, 0.07)
STEEL: Colour = (0.45, 0.46, 0.48)
HEAD_LAMP: Colour = (1.0, 0.98, 0.90)
TAIL_LAMP: Colour = (0.90, 0.05, 0.05)
AMBER: Colour = (1.0, 0.60, 0.05)
HUB: Colour = (0.55, 0.56, 0.58)


def _pick(colours: list[Colour], rng: np.random.Generator) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _lamps(b: MeshBuilder, front: float, rear: float, half: float, z: tuple[float, float],
           width: float = 0.34) -> None:
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
    paint = _pick(PAINTS, rng)
    style = int(rng.integers(3))
    # (x, z) outlines; the cabin's slanted wind screen and shorter rear tell the direction
    b.extruded([(-2.26, 0.28), (2.22, 0.28), (2.27, 0.50), (2.20, 0.78), (1.15, 0.97),
                (-2.05, 1.02), (-2.27, 0.85)], (-0.92, 0.92), paint, Material.PAINT)
    rear = {0: (-1.55, -1.00), 1: (-2.15, -1.85), 2: (-2.18, -2.02)}[style]
    front = {0: (1.05, 0.30), 1: (1.05, 0.35), 2: (1.45, 0.85)}[style]
    roof = {0: 1.50, 1: 1.55, 2: 1.78}[style]
    glass = (GLASS, Material.GLASS)
    b.extruded([(rear[0], 1.00), (front[0], 0.96), (front[1], roof), (rear[1], roof)],
               (-0.86, 0.86), paint, Material.PAINT, {1: glass, 3: glass}, glass, taper=0.14)
    for x in {0: [0.0], 1: [0.0, -1.2], 2: [0.1, -1.1]}[style]:  # door pillars on the lean side
        for side in (-1, 1):
            b.face([(x - 0.05, side * 0.866, 0.97), (x + 0.05, side * 0.866, 0.97),
                    (x + 0.05, side * 0.726, roof), (x - 0.05, side * 0.726, roof)], paint,
                   Material.PAINT)
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
    paint = _pick(PAINTS, rng)
    cargo = _pick([(0.88, 0.88, 0.86), (0.75, 0.78, 0.80), (0.70, 0.62, 0.45), paint], rng)
    glass = (GLASS, Material.GLASS)
    b.box((-3.4, 3.3), (-0.55, 0.55), (0.50, 0.80), DARK)  # frame
    b.extruded([(1.55, 0.55), (3.42, 0.55), (3.46, 1.20), (1.55, 1.25)], (-1.15, 1.15), paint)
    b.extruded([(1.55, 1.25), (3.46, 1.20), (3.12, 2.15), (1.55, 2.15)], (-1.15, 1.15), paint,
               Material.PAINT, {1: glass}, glass, taper=0.06)
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
    cargo = _pick([(0.82, 0.84, 0.86), (0.20, 0.35, 0.60), (0.60, 0.20, 0.15),
                   (0.30, 0.45, 0.35)], rng)
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
    paint = _pick([(0.80, 0.12, 0.10), (0.10, 0.35, 0.60), (0.85, 0.72, 0.10),
                   (0.15, 0.50, 0.30), (0.85, 0.85, 0.85)], rng)
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
    yellow = _pick([(0.92, 0.62, 0.05), (0.90, 0.45, 0.05), (0.95, 0.75, 0.10)], rng)
    glass = (GLASS, Material.GLASS)
    if rng.random() < 0.5:
        for side in (-1, 1):
            y = tuple(sorted((side * 0.75, side * 1.40)))
            b.extruded([(-2.3, 0.0), (1.0, 0.0), (1.5, 0.4), (1.3, 0.85), (-2.6, 0.85),
                        (-2.8, 0.4)], y, (0.13, 0.12, 0.11), Material.RIBS)
    else:
        for x in (-1.9, 0.6):
            _axle(b, x, 1.40, 0.75, 0.5)
    b.box((-2.9, 1.1), (-1.25, 1.25), (0.9, 1.55), yellow, Material.PAINT)
    b.box((-3.18, -1.2), (-1.2, 1.2), (1.2, 2.2), yellow, Material.PAINT)  # engine
    b.box((-3.2, -3.18), (-0.9, 0.9), (1.4, 1.9), DARK)
    b.extruded([(-0.9, 1.55), (0.9, 1.55), (0.65, 3.1), (-0.8, 3.1)], (-0.1, 1.2), GLASS,
               Material.GLASS, {2: (yellow, Material.PAINT)}, glass, taper=0.05)
    b.box((-0.95, -0.75), (-0.12, 1.22), (1.5, 3.19), yellow, Material.PAINT)
    b.box((-0.1, 0.1), (0.45, 0.65), (3.1, 3.25), AMBER, Material.LAMP)
    # arm: up and forward, then down to the shovel
    b.extruded([(0.5, 1.3), (0.9, 1.2), (2.35, 2.75), (2.0, 3.0)], (-0.75, -0.4), yellow)
    b.extruded([(1.95, 3.05), (2.05, 2.6), (3.0, 0.9), (3.15, 1.1)], (-0.72, -0.43), yellow)
    b.extruded([(2.55, 0.25), (3.18, 0.15), (3.18, 1.1), (2.75, 1.0)], (-1.05, 0.1),
               (0.35, 0.33, 0.30))
    return b.build()


def _frame_bar(b: MeshBuilder, p: tuple[float, float], q: tuple[float, float], thick: float,
               colour: Colour) -> None:
    """A bar in the x-z plane from p to q."""
    p_, q_ = np.array(p), np.array(q)
    normal = np.array([-(q_ - p_)[1], (q_ - p_)[0]]) / np.linalg.norm(q_ - p_) * thick / 2
    outline = [p_ - normal, q_ - normal, q_ + normal, p_ + normal]
    b.extruded([tuple(v) for v in outline], (-thick / 2, thick / 2), colour, Material.PAINT)


def _thin_wheel(b: MeshBuilder, x: float, radius: float, width: float) -> None:
    """A tyre seen as a ring of eight short bars with a hub, so that one looks through it."""
    angles = np.arange(9) * np.pi / 4 + np.pi / 8
    rim = radius * 0.96
    for a0, a1 in zip(angles[:-1], angles[1:], strict=True):
        outline = [(x + r * np.cos(a), radius + r * np.sin(a))
                   for r, a in ((rim, a0), (rim, a1), (0.80 * rim, a1), (0.80 * rim, a0))]
        b.extruded(outline, (-width / 2, width / 2), (0.05, 0.05, 0.05), Material.MATTE)
    for a in angles[:4]:
        _frame_bar(b, (x + 0.8 * rim * np.cos(a), radius + 0.8 * rim * np.sin(a)),
                   (x - 0.8 * rim * np.cos(a), radius - 0.8 * rim * np.sin(a)), 0.02, HUB)


def _rider(b: MeshBuilder, seat: tuple[float, float], lean: float, rng: np.random.Generator,
           pedal: tuple[float, float], bar: tuple[float, float]) -> None:
    """A seated person with a helmet, leaning forwards."""
    shirt, trousers = _pick(CLOTHES, rng), _pick(CLOTHES[:4], rng)
    x, z = seat
    shoulder = (x + lean, z + 0.52)
    b.extruded([(x - 0.14, z), (x + 0.14, z), (shoulder[0] + 0.12, shoulder[1]),
                (shoulder[0] - 0.12, shoulder[1])], (-0.20, 0.20), shirt, Material.MATTE)
    head = shoulder[0] + 0.06
    b.cone((head, 0.0), (shoulder[1], shoulder[1] + 0.14), (0.07, 0.10), _pick(SKINS, rng))
    b.cone((head, 0.0), (shoulder[1] + 0.14, shoulder[1] + 0.29), (0.13, 0.08),
           _pick(CLOTHES, rng), Material.PAINT)
    for side in (-1, 1):
        leg = tuple(sorted((side * 0.08, side * 0.20)))
        knee = (x + 0.38, z - 0.10)
        b.extruded([(x - 0.05, z - 0.06), (knee[0], knee[1] - 0.08), (knee[0], knee[1] + 0.08),
                    (x - 0.05, z + 0.10)], leg, trousers, Material.MATTE)
        b.extruded([(pedal[0] - 0.06, pedal[1]), (pedal[0] + 0.14, pedal[1]),
                    (knee[0] + 0.02, knee[1] + 0.06), (knee[0] - 0.13, knee[1] + 0.02)], leg,
                   trousers, Material.MATTE)
        arm = tuple(sorted((side * 0.20, side * 0.30)))
        b.extruded([(shoulder[0] - 0.06, shoulder[1] - 0.12), (bar[0] - 0.02, bar[1] - 0.04),
                    (bar[0], bar[1] + 0.06), (shoulder[0] + 0.04, shoulder[1])], arm, shirt,
                   Material.MATTE)


def bicycle(rng: np.random.Generator, rider: bool = True) -> Mesh:
    """Two thin spoked wheels, a diamond frame, a handlebar in front; with or without rider."""
    b = MeshBuilder()
    paint = _pick(PAINTS, rng)
    for x in (-0.52, 0.52):
        _thin_wheel(b, x, 0.34, 0.06)
    for p, q in [((-0.52, 0.34), (-0.05, 0.32)), ((-0.05, 0.32), (0.40, 0.82)),
                 ((-0.05, 0.32), (-0.20, 0.86)), ((-0.20, 0.80), (0.40, 0.82)),
                 ((-0.52, 0.34), (-0.20, 0.80)), ((0.52, 0.34), (0.38, 0.98))]:
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
    paint = _pick(PAINTS, rng)
    for x in (-0.68, 0.70):
        b.wheel(x, (-0.09, 0.09), 0.34, HUB)
    b.extruded([(-0.35, 0.28), (0.35, 0.28), (0.42, 0.62), (-0.40, 0.62)], (-0.17, 0.17),
               (0.20, 0.20, 0.22), Material.PAINT)
    b.extruded([(-0.10, 0.60), (0.50, 0.62), (0.42, 0.95), (0.0, 0.90)], (-0.18, 0.18), paint)
    b.extruded([(-0.95, 0.72), (-0.05, 0.62), (0.0, 0.80), (-0.98, 0.88)], (-0.15, 0.15), DARK,
               Material.MATTE)
    b.extruded([(0.62, 0.36), (0.76, 0.36), (0.55, 1.05), (0.45, 1.05)], (-0.12, 0.12), STEEL)
    b.box((0.38, 0.46), (-0.38, 0.38), (1.02, 1.08), DARK)
    b.extruded([(0.50, 0.88), (0.62, 0.88), (0.50, 1.25), (0.44, 1.25)], (-0.2, 0.2), GLASS,
               Material.GLASS)
    b.box((0.60, 0.68), (-0.12, 0.12), (0.78, 0.96), HEAD_LAMP, Material.LAMP)
    b.box((-1.03, -0.97), (-0.12, 0.12), (0.74, 0.84), TAIL_LAMP, Material.LAMP)
    if rider:
        _rider(b, (-0.25, 0.86), 0.22, rng, (0.0, 0.30), (0.42, 1.05))
    return b.build()


def pedestrian(rng: np.random.Generator, walking: bool = True) -> Mesh:
    """Legs (apart when walking), a torso with arms, a head with hair; the face is in front."""
    b = MeshBuilder()
    shirt, trousers, skin = _pick(CLOTHES, rng), _pick(CLOTHES[:4], rng), _pick(SKINS, rng)
    hair = _pick([(0.10, 0.08, 0.06), (0.35, 0.22, 0.10), (0.65, 0.50, 0.25)], rng)
    stride = 0.26 if walking else 0.03
    for side in (-1, 1):
        foot = side * stride
        y = tuple(sorted((side * 0.03, side * 0.17)))
        b.extruded([(foot - 0.07, 0.06), (foot + 0.07, 0.06), (0.09, 0.86), (-0.09, 0.86)], y,
                   trousers, Material.MATTE)
        b.box((foot - 0.08, foot + 0.18), y, (0.0, 0.08), DARK)
        hand = -side * stride * 0.9
        y = tuple(sorted((side * 0.21, side * 0.31)))
        b.extruded([(hand - 0.05, 0.80), (hand + 0.06, 0.80), (0.06, 1.42), (-0.06, 1.42)], y,
                   shirt, Material.MATTE)
    b.cone((0, 0), (0.82, 1.45), (0.19, 0.22), shirt, flat=(0.62, 1.0))
    b.cone((0, 0), (1.45, 1.52), (0.06, 0.06), skin)
    b.cone((0.02, 0), (1.50, 1.62), (0.09, 0.115), skin)
    b.cone((0.02, 0), (1.62, 1.69), (0.115, 0.11), skin)
    b.cone((-0.01, 0), (1.66, 1.77), (0.13, 0.07), hair)
    b.box((-0.13, -0.03), (-0.11, 0.11), (1.52, 1.70), hair)
    if rng.random() < 0.3:
        b.box((-0.30, -0.12), (-0.17, 0.17), (0.98, 1.42), _pick(CLOTHES, rng))  # rucksack
    return b.build()


def traffic_cone(rng: np.random.Generator) -> Mesh:
    """Orange with white bands on a black foot."""
    b = MeshBuilder()
    orange = (0.95, 0.30 + 0.06 * rng.random(), 0.03)
    white = (0.92, 0.92, 0.90)
    b.box((-0.20, 0.20), (-0.20, 0.20), (0.0, 0.06), DARK)
    levels = [(0.06, 0.17, orange), (0.40, 0.125, white), (0.58, 0.10, orange),
              (0.72, 0.08, white), (0.86, 0.062, orange), (1.07, 0.035, orange)]
    for (z0, r0, colour), (z1, r1, _) in zip(levels[:-1], levels[1:], strict=True):
        b.cone((0, 0), (z0, z1), (r0, r1), colour)
    return b.build()


def barrier(rng: np.random.Generator) -> Mesh:
    """A striped board across y on a dark foot (nuScenes boxes of barriers are wide in y)."""
    b = MeshBuilder()
    red = _pick([(0.85, 0.10, 0.08), (0.90, 0.40, 0.05)], rng)
    b.extruded([(-0.25, 0.0), (0.25, 0.0), (0.12, 0.28), (-0.12, 0.28)], (-1.26, 1.26),
               (0.62, 0.62, 0.60), Material.MATTE)
    b.box((-0.10, 0.10), (-1.26, 1.26), (0.28, 0.98), red, Material.STRIPES, (0.9, 0.9, 0.9))
    return b.build()


def object_mesh(
    class_name: str, size: tuple[float, float, float], active: bool, rng: np.random.Generator
) -> Mesh:
    """The mesh of one object, filling its box exactly.

    Args:
        class_name: one of the ten detection classes.
        size: (length, width, height), metres.
        active: with a rider (cycles) or walking (pedestrians).
        rng: decides colour and style.

    Returns:
        Faces around the box's bottom centre, facing +x.
    """
    if class_name in ("bicycle", "motorcycle", "pedestrian"):
        draw = {"bicycle": bicycle, "motorcycle": motorcycle, "pedestrian": pedestrian}
        return draw[class_name](rng, active).fitted(*size)
    draw = {"car": car, "truck": truck, "trailer": trailer, "bus": bus,
            "construction_vehicle": construction_vehicle, "traffic_cone": traffic_cone,
            "barrier": barrier}
    return draw[class_name](rng).fitted(*size)
