"""Meshes of convex planar polygons, and the solids everything is built from.

A face is a convex polygon of at most eight vertices. Faces are two-sided. The first edge
of a face is its texture's u axis, so walls start with their bottom edge: u then runs
along the wall in metres, and v up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

MAX_VERTICES = 8

Colour = tuple[float, float, float]  # RGB, 0..1


class Material(IntEnum):
    """How a face looks; the renderer and the LiDAR both read it."""

    MATTE = 0
    PAINT = 1  # mirrors a little sky
    GLASS = 2  # dark, mirrors the sky
    FACADE = 3  # rows of windows
    FOLIAGE = 4
    STRIPES = 5  # diagonal, the face's colour and white
    LAMP = 6  # shines by itself
    RIBS = 7  # corrugated sheet


@dataclass(frozen=True)
class Mesh:
    """Faces of one object or of many.

    Attributes:
        vertices: [F, 8, 3], metres; only the first ``counts`` of each face are used.
        counts: int32 [F], vertices of each face.
        colours: float64 [F, 3], RGB 0..1.
        materials: int32 [F], values of :class:`Material`.
        owners: int32 [F], index of the object the face belongs to, -1 for scenery.
    """

    vertices: np.ndarray
    counts: np.ndarray
    colours: np.ndarray
    materials: np.ndarray
    owners: np.ndarray

    def placed(self, x: float, y: float, yaw: float, owner: int = -1) -> Mesh:
        """The mesh turned by ``yaw`` and moved to (x, y) on the ground."""
        c, s = np.cos(yaw), np.sin(yaw)
        vertices = self.vertices.copy()
        vertices[..., 0] = c * self.vertices[..., 0] - s * self.vertices[..., 1] + x
        vertices[..., 1] = s * self.vertices[..., 0] + c * self.vertices[..., 1] + y
        owners = np.full(len(self.counts), owner, np.int32)
        return Mesh(vertices, self.counts, self.colours, self.materials, owners)

    def where(self, keep: np.ndarray) -> Mesh:
        """Only the faces where ``keep`` [F] is true."""
        return Mesh(
            self.vertices[keep],
            self.counts[keep],
            self.colours[keep],
            self.materials[keep],
            self.owners[keep],
        )

    def of_objects(self) -> Mesh:
        """Only the faces that belong to an object."""
        return self.where(self.owners >= 0)

    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner, [3] each."""
        used = np.arange(MAX_VERTICES) < self.counts[:, None]
        points = self.vertices[used]
        return points.min(axis=0), points.max(axis=0)

    def fitted(self, length: float, width: float, height: float) -> Mesh:
        """The mesh scaled and shifted so that it fills exactly this box on the ground."""
        low, high = self.extent()
        size = np.array([length, width, height])
        centre = (low + high) / 2
        vertices = (self.vertices - centre) * (size / (high - low))
        vertices[..., 2] += height / 2
        return Mesh(vertices, self.counts, self.colours, self.materials, self.owners)


NOTHING = Mesh(
    np.zeros((0, MAX_VERTICES, 3)),
    np.zeros(0, np.int32),
    np.zeros((0, 3)),
    np.zeros(0, np.int32),
    np.zeros(0, np.int32),
)


def merged(meshes: list[Mesh]) -> Mesh:
    """One mesh with the faces of all, in order."""
    return Mesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.counts for m in meshes]),
        np.concatenate([m.colours for m in meshes]),
        np.concatenate([m.materials for m in meshes]),
        np.concatenate([m.owners for m in meshes]),
    )


class MeshBuilder:
    """Collects faces. Frame: x forward, y left, z up, ground at z = 0."""

    def __init__(self) -> None:
        self._faces: list[tuple[np.ndarray, Colour, Material]] = []

    def face(
        self, points: list | np.ndarray, colour: Colour, material: Material = Material.MATTE
    ) -> None:
        """Adds one convex planar polygon of three to eight points."""
        points = np.asarray(points, float)
        if not 3 <= len(points) <= MAX_VERTICES:
            raise ValueError(f"a face has 3 to {MAX_VERTICES} vertices, got {len(points)}")
        self._faces.append((points, colour, material))

    def box(
        self,
        x: tuple[float, float],
        y: tuple[float, float],
        z: tuple[float, float],
        colour: Colour,
        material: Material = Material.MATTE,
        top: Colour | None = None,
    ) -> None:
        """Adds an axis-aligned box; its roof may have a colour of its own."""
        (x0, x1), (y0, y1), (z0, z1) = x, y, z
        ring = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        for (ax, ay), (bx, by) in zip(ring, ring[1:] + ring[:1], strict=True):
            self.face([(ax, ay, z0), (bx, by, z0), (bx, by, z1), (ax, ay, z1)], colour, material)
        self.face(
            [(px, py, z1) for px, py in ring], top or colour, Material.MATTE if top else material
        )
        self.face([(px, py, z0) for px, py in ring], tuple(0.4 * v for v in colour))

    def extruded(
        self,
        profile: list[tuple[float, float]],
        y: tuple[float, float],
        colour: Colour,
        material: Material = Material.PAINT,
        edges: dict[int, tuple[Colour, Material]] | None = None,
        caps: tuple[Colour, Material] | None = None,
        taper: float = 0.0,
    ) -> None:
        """Adds a side profile drawn out across the vehicle.

        Args:
            profile: convex outline of (x, z) points, counter-clockwise seen from the right.
            y: right and left side.
            colour: of every face not named in ``edges`` or ``caps``.
            material: likewise.
            edges: other looks for the strip that starts at profile point ``i``.
            caps: looks of both sides.
            taper: how far the sides lean inwards at the profile's top.
        """
        z_low = min(p[1] for p in profile)
        z_high = max(p[1] for p in profile)

        def side(sign: int) -> list[tuple[float, float, float]]:
            points = []
            for px, pz in profile:
                lean = taper * (pz - z_low) / (z_high - z_low)
                points.append((px, (y[1] - lean) if sign > 0 else (y[0] + lean), pz))
            return points

        right, left = side(-1), side(1)
        cap_colour, cap_material = caps or (colour, material)
        self.face(right, cap_colour, cap_material)
        self.face(left, cap_colour, cap_material)
        for i in range(len(profile)):
            j = (i + 1) % len(profile)
            strip_colour, strip_material = (edges or {}).get(i, (colour, material))
            self.face([right[i], left[i], left[j], right[j]], strip_colour, strip_material)

    def wheel(self, x: float, y: tuple[float, float], radius: float, hub: Colour) -> None:
        """Adds an upright wheel that stands on the ground at ``x``, with a hub on each side."""
        angles = (np.arange(8) + 0.5) * np.pi / 4
        rim = radius / np.cos(np.pi / 8)
        circle = np.stack([x + rim * np.cos(angles), radius + rim * np.sin(angles)], axis=1)
        rubber = (0.05, 0.05, 0.055)
        self.extruded([tuple(p) for p in circle], y, rubber, Material.MATTE)
        small = np.stack(
            [x + 0.55 * radius * np.cos(angles), radius + 0.55 * radius * np.sin(angles)], axis=1
        )
        for side in (y[0] - 0.005, y[1] + 0.005):
            self.face([(px, side, pz) for px, pz in small], hub)

    def cone(
        self,
        centre: tuple[float, float],
        z: tuple[float, float],
        radii: tuple[float, float],
        colour: Colour,
        material: Material = Material.MATTE,
        sides: int = 8,
        flat: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Adds an upright frustum with flat ends; ``flat`` squeezes it along x and y."""
        angles = (np.arange(sides) + 0.5) * 2 * np.pi / sides
        unit = np.stack([flat[0] * np.cos(angles), flat[1] * np.sin(angles)], axis=1)
        low = [(centre[0] + radii[0] * u, centre[1] + radii[0] * v, z[0]) for u, v in unit]
        high = [(centre[0] + radii[1] * u, centre[1] + radii[1] * v, z[1]) for u, v in unit]
        for i in range(sides):
            j = (i + 1) % sides
            strip = [low[i], low[j], high[j], high[i]]
            if radii[1] == 0:
                strip = strip[:3]
            elif radii[0] == 0:
                strip = [high[j], high[i], low[i]]
            self.face(strip, colour, material)
        for ring, radius in ((low, radii[0]), (high, radii[1])):
            if radius > 0:
                self.face(ring, colour, material)

    def build(self) -> Mesh:
        """The collected faces."""
        n = len(self._faces)
        vertices = np.zeros((n, MAX_VERTICES, 3))
        for i, (points, _, _) in enumerate(self._faces):
            vertices[i, : len(points)] = points
            vertices[i, len(points) :] = points[-1]
        return Mesh(
            vertices,
            np.array([len(f[0]) for f in self._faces], np.int32),
            np.array([f[1] for f in self._faces], float).reshape(n, 3),
            np.array([int(f[2]) for f in self._faces], np.int32),
            np.full(n, -1, np.int32),
        )
