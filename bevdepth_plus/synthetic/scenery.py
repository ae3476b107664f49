"""What stands beside the road and is not annotated, and the painted ground."""

from __future__ import annotations

import cv2
import numpy as np

from bevdepth_plus.synthetic.lane_marks import lane_marks
from bevdepth_plus.synthetic.mesh import Colour, Material, Mesh, MeshBuilder, merged
from bevdepth_plus.synthetic.road import Road

WALLS: list[Colour] = [
    (0.62, 0.36, 0.28),
    (0.72, 0.66, 0.56),
    (0.55, 0.55, 0.56),
    (0.80, 0.76, 0.70),
    (0.45, 0.38, 0.34),
    (0.68, 0.50, 0.36),
    (0.50, 0.56, 0.60),
]


def scenery_mesh(road: Road, rng: np.random.Generator) -> Mesh:
    """Buildings, trees and lamp posts along both sides of the road."""
    parts: list[Mesh] = []
    for side in (-1, 1):
        parts += _buildings(road, side, rng)
        parts += _trees(road, side, rng)
        parts += _lamp_posts(road, side, rng)
    return merged(parts)


def _buildings(road: Road, side: int, rng: np.random.Generator) -> list[Mesh]:
    parts = []
    s = road.start
    while s < road.end:
        length, depth = rng.uniform(9, 22), rng.uniform(8, 14)
        height = rng.uniform(4.5, 18)
        setback = rng.uniform(1.0, 6.0)
        d = side * (road.sidewalk_end + setback + depth / 2)
        x, y, heading = (float(v) for v in road.locate(s + length / 2, d))
        mesh = _building(length, depth, height, rng).placed(x, y, heading)
        used = mesh.vertices[:, 0]
        if road.distance(used[:, 0], used[:, 1]).min() > road.sidewalk_end + 0.5:
            parts.append(mesh)
        s += length + rng.choice([0.3, rng.uniform(3, 14)])
    return parts


def _building(length: float, depth: float, height: float, rng: np.random.Generator) -> Mesh:
    b = MeshBuilder()
    wall = WALLS[int(rng.integers(len(WALLS)))]
    roof = (0.35, 0.30, 0.28) if rng.random() < 0.5 else (0.42, 0.43, 0.45)
    x, y = (-length / 2, length / 2), (-depth / 2, depth / 2)
    b.box(x, y, (0.0, height), wall, Material.FACADE, roof)
    if rng.random() < 0.5:  # gable roof
        ridge = height + rng.uniform(1.5, 3.0)
        b.face(
            [(x[0], y[0], height), (x[1], y[0], height), (x[1], 0, ridge), (x[0], 0, ridge)], roof
        )
        b.face(
            [(x[0], y[1], height), (x[1], y[1], height), (x[1], 0, ridge), (x[0], 0, ridge)], roof
        )
        for px in x:
            b.face([(px, y[0], height), (px, y[1], height), (px, 0, ridge)], wall)
    return b.build()


def _trees(road: Road, side: int, rng: np.random.Generator) -> list[Mesh]:
    parts = []
    s = road.start
    while s < road.end:
        d = side * (road.sidewalk_end + rng.uniform(0.4, 0.9))
        x, y, heading = (float(v) for v in road.locate(s, d))
        parts.append(_tree(rng).placed(x, y, heading))
        s += rng.uniform(9, 26)
    return parts


def _tree(rng: np.random.Generator) -> Mesh:
    b = MeshBuilder()
    trunk = rng.uniform(1.8, 2.8)
    top = trunk + rng.uniform(2.5, 4.5)
    radius = rng.uniform(1.1, 1.9)
    green = (0.16 + 0.12 * rng.random(), 0.34 + 0.12 * rng.random(), 0.10)
    b.cone((0, 0), (0.0, trunk + 0.4), (0.16, 0.12), (0.32, 0.24, 0.17), sides=6)
    heights = trunk + (top - trunk) * np.array([0.0, 0.25, 0.6, 0.88, 1.0])
    radii = radius * np.array([0.35, 0.95, 1.0, 0.6, 0.15])
    for i in range(4):
        b.cone(
            (0, 0), (heights[i], heights[i + 1]), (radii[i], radii[i + 1]), green, Material.FOLIAGE
        )
    return b.build()


def _lamp_posts(road: Road, side: int, rng: np.random.Generator) -> list[Mesh]:
    parts = []
    for s in np.arange(road.start + rng.uniform(0, 20), road.end, 32.0):
        b = MeshBuilder()
        b.cone((0, 0), (0.0, 6.5), (0.09, 0.06), (0.35, 0.36, 0.37), sides=6)
        b.box((-0.08, 0.08), (-1.6, 0.1), (6.45, 6.6), (0.35, 0.36, 0.37))
        b.box((-0.12, 0.12), (-1.9, -1.3), (6.38, 6.45), (0.9, 0.9, 0.85), Material.LAMP)
        x, y, heading = (float(v) for v in road.locate(s, side * (road.kerb + 0.3)))
        parts.append(b.build().placed(x, y, heading + (0.0 if side > 0 else np.pi)))
    return parts


def ground_picture(road: Road, seed: int, texel: float) -> np.ndarray:
    """Paints the ground seen from above.

    Args:
        road: the road.
        seed: of the grain.
        texel: metres a texel.

    Returns:
        uint8 [rows, columns, 3], RGB; row 0 is y = 0, column 0 is x = 0.
    """
    rng = np.random.default_rng(seed)
    width, height = (int(np.ceil(v / texel)) for v in road.size)
    picture = np.empty((height, width, 3), np.uint8)
    picture[:] = (92, 112, 66)

    def paint(outline: np.ndarray, colour: tuple[int, int, int]) -> None:
        points = outline / texel * 16 - 8
        cv2.fillPoly(picture, [np.round(points).astype(np.int32)], colour, cv2.LINE_AA, 4)

    def fill(inner: float, outer: float, colour: tuple[int, int, int]) -> None:
        paint(road.strip(inner, outer), colour)

    fill(-road.sidewalk_end, road.sidewalk_end, (160, 156, 148))
    fill(-road.kerb - 0.25, road.kerb + 0.25, (190, 188, 182))
    fill(-road.kerb, road.kerb, (84, 85, 88))
    edge = road.parking_start
    for side in (-1, 1):
        fill(side * edge, side * road.kerb, (96, 95, 95))
        fill(side * (road.lanes_end + 0.12), side * (edge - 0.12), (88, 98, 90))
    for outline, colour in lane_marks(road):
        paint(outline, colour)
    _add_grain(picture, rng)
    return picture


def _add_grain(picture: np.ndarray, rng: np.random.Generator, tile: int = 1024) -> None:
    """Brightens and darkens in place: fine grain over slow patches, repeated in tiles."""
    grain = rng.normal(1.0, 0.045, (tile, tile)).astype(np.float32)
    for cell, strength in ((8, 0.05), (64, 0.08)):
        coarse = rng.normal(0, strength, (tile // cell, tile // cell)).astype(np.float32)
        wrapped = np.pad(coarse, 1, mode="wrap")
        fine = cv2.resize(wrapped, None, fx=cell, fy=cell, interpolation=cv2.INTER_LINEAR)
        grain += fine[cell:-cell, cell:-cell]
    for row in range(0, picture.shape[0], tile):
        for col in range(0, picture.shape[1], tile):
            part = picture[row : row + tile, col : col + tile]
            factor = grain[: part.shape[0], : part.shape[1], None]
            part[:] = np.clip(part * factor, 0, 255).astype(np.uint8)
