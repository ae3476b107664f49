"""What the ten detection classes look like.

Every class is drawn at a natural size; :func:`object_mesh` then fits the result into the annotated
box, so that a box is exactly as large as what it holds.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bevdepth_plus.synthetic.mesh import Material, Mesh, MeshBuilder
from bevdepth_plus.synthetic.palette import DARK, pick
from bevdepth_plus.synthetic.people import bicycle, motorcycle, pedestrian
from bevdepth_plus.synthetic.vehicles import bus, car, construction_vehicle, trailer, truck


def traffic_cone(rng: np.random.Generator) -> Mesh:
    """Orange with white bands on a black foot."""
    b = MeshBuilder()
    orange = (0.95, 0.30 + 0.06 * rng.random(), 0.03)
    white = (0.92, 0.92, 0.90)
    b.box((-0.20, 0.20), (-0.20, 0.20), (0.0, 0.06), DARK)
    levels = [
        (0.06, 0.17, orange),
        (0.40, 0.125, white),
        (0.58, 0.10, orange),
        (0.72, 0.08, white),
        (0.86, 0.062, orange),
        (1.07, 0.035, orange),
    ]
    for (z0, r0, colour), (z1, r1, _) in pairwise(levels):
        b.cone((0, 0), (z0, z1), (r0, r1), colour)
    return b.build()


def barrier(rng: np.random.Generator) -> Mesh:
    """A striped board across y on a concrete foot (nuScenes boxes of barriers are wide in y)."""
    b = MeshBuilder()
    red = pick([(0.85, 0.10, 0.08), (0.90, 0.40, 0.05)], rng)
    b.extruded(
        [(-0.25, 0.0), (0.25, 0.0), (0.12, 0.28), (-0.12, 0.28)],
        (-1.26, 1.26),
        (0.62, 0.62, 0.60),
        Material.MATTE,
    )
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
    draw = {
        "car": car,
        "truck": truck,
        "trailer": trailer,
        "bus": bus,
        "construction_vehicle": construction_vehicle,
        "traffic_cone": traffic_cone,
        "barrier": barrier,
    }
    return draw[class_name](rng).fitted(*size)
