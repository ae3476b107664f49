"""What a pinhole camera sees: visibility by z-buffer first, colour afterwards.

Faces are rasterised two by two finer than the picture, keeping only which face is nearest;
then each pixel is coloured once for each different face among its four samples. 1 / z of a
plane is affine in the image, so depth is exact everywhere, without interpolating vertices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bevdepth_plus.synthetic.jit import compiled
from bevdepth_plus.synthetic.mesh import MAX_VERTICES, Mesh

NEAR = 0.1  # metres; faces are clipped here
SAMPLES = 2  # per pixel and axis


@dataclass(frozen=True)
class CameraView:
    """A camera in the world: intrinsics, image size, and pose ``world_T_cam`` [4, 4]."""

    intrinsics: np.ndarray  # [3, 3], pixels
    width: int
    height: int
    world_T_cam: np.ndarray


@dataclass(frozen=True)
class Visibility:
    """Which face is nearest at every sample.

    Attributes:
        faces: int32 [H * k, W * k], index into the mesh; -1 is ground or sky.
        inverse_depth: float64, same shape, 1 / z; 0 where no face is.
        unoccluded: int64 [objects], samples each object would cover if nothing hid it.
        visible: int64 [objects], samples where it is nearest.
    """

    faces: np.ndarray
    inverse_depth: np.ndarray
    unoccluded: np.ndarray
    visible: np.ndarray


def find_visible(mesh: Mesh, view: CameraView, objects: int, samples: int = SAMPLES) -> Visibility:
    """Rasterises a mesh (world frame) with a z-buffer.

    Args:
        mesh: faces in world coordinates; faces of one object must follow each other.
        view: the camera.
        objects: number of objects that ``mesh.owners`` refers to.
        samples: samples per pixel and axis; with 1 they sit at the pixels' centres.
    """
    rotation, origin = view.world_T_cam[:3, :3], view.world_T_cam[:3, 3]
    points = (mesh.vertices - origin) @ rotation
    k = view.intrinsics
    shape = (view.height * samples, view.width * samples)
    faces = np.full(shape, -1, np.int32)
    inverse_depth = np.zeros(shape)
    unoccluded = np.zeros(objects, np.int64)
    _rasterise(
        points,
        mesh.counts,
        mesh.owners,
        k[0, 0] * samples,
        k[1, 1] * samples,
        k[0, 2] * samples,
        k[1, 2] * samples,
        faces,
        inverse_depth,
        unoccluded,
    )
    visible = np.zeros(objects, np.int64)
    _count(faces, mesh.owners, visible)
    return Visibility(faces, inverse_depth, unoccluded, visible)


@compiled
def _clip_near(polygon, count, out):
    """Cuts a polygon at z = NEAR; returns how many vertices are left in ``out``."""
    n = 0
    for i in range(count):
        j = (i + 1) % count
        zi, zj = polygon[i, 2], polygon[j, 2]
        if zi >= NEAR:
            out[n, 0], out[n, 1], out[n, 2] = polygon[i, 0], polygon[i, 1], zi
            n += 1
        if (zi >= NEAR) != (zj >= NEAR):
            a = (NEAR - zi) / (zj - zi)
            for c in range(3):
                out[n, c] = polygon[i, c] + a * (polygon[j, c] - polygon[i, c])
            n += 1
    return n


@compiled
def _rasterise(points, counts, owners, fx, fy, cx, cy, faces, inverse_depth, unoccluded):
    height, width = faces.shape
    stamp = np.full((height, width), -1, np.int32)
    clipped = np.empty((MAX_VERTICES + 2, 3))
    u = np.empty(MAX_VERTICES + 2)
    v = np.empty(MAX_VERTICES + 2)
    for f in range(len(counts)):
        n = _clip_near(points[f], counts[f], clipped)
        if n < 3:
            continue
        for i in range(n):
            u[i] = fx * clipped[i, 0] / clipped[i, 2] + cx
            v[i] = fy * clipped[i, 1] / clipped[i, 2] + cy
        # the plane n . P = offset, from the unclipped face (Newell's normal)
        nx, ny, nz = 0.0, 0.0, 0.0
        p = points[f]
        for i in range(counts[f]):
            j = (i + 1) % counts[f]
            nx += (p[i, 1] - p[j, 1]) * (p[i, 2] + p[j, 2])
            ny += (p[i, 2] - p[j, 2]) * (p[i, 0] + p[j, 0])
            nz += (p[i, 0] - p[j, 0]) * (p[i, 1] + p[j, 1])
        offset = nx * p[0, 0] + ny * p[0, 1] + nz * p[0, 2]
        if abs(offset) < 1e-12:
            continue  # seen edge-on
        a, b = nx / offset / fx, ny / offset / fy
        c = nz / offset - a * cx - b * cy
        v_low, v_high = v[0], v[0]
        for i in range(1, n):
            v_low, v_high = min(v_low, v[i]), max(v_high, v[i])
        # clamped before rounding: points at the near plane project very far away
        first = int(math.ceil(max(v_low, 0.0) - 0.5))
        last = int(math.floor(min(v_high, float(height)) - 0.5))
        owner = owners[f]
        for row in range(max(first, 0), min(last, height - 1) + 1):
            y = row + 0.5
            left, right = 1e30, -1e30
            for i in range(n):
                j = (i + 1) % n
                if (v[i] <= y) != (v[j] <= y):
                    x = u[i] + (y - v[i]) / (v[j] - v[i]) * (u[j] - u[i])
                    left, right = min(left, x), max(right, x)
            if right < left:
                continue
            start = int(math.ceil(max(left, 0.0) - 0.5))
            stop = int(math.ceil(min(right, float(width)) - 0.5))
            for col in range(max(start, 0), min(stop, width)):
                w = a * (col + 0.5) + b * y + c
                if owner >= 0 and stamp[row, col] != owner:
                    stamp[row, col] = owner
                    unoccluded[owner] += 1
                if w > inverse_depth[row, col]:
                    inverse_depth[row, col] = w
                    faces[row, col] = f


@compiled
def _count(faces, owners, visible):
    """Adds up the samples of each object."""
    for row in range(faces.shape[0]):
        for col in range(faces.shape[1]):
            face = faces[row, col]
            if face >= 0 and owners[face] >= 0:
                visible[owners[face]] += 1


def exact_depth(mesh: Mesh, view: CameraView) -> np.ndarray:
    """Depth along the optical axis at every pixel centre, metres, float64 [H, W]; 0 is sky."""
    inverse = find_visible(mesh, view, int(mesh.owners.max(initial=0)) + 1, samples=1).inverse_depth
    columns, rows = np.meshgrid(np.arange(view.width) + 0.5, np.arange(view.height) + 0.5)
    k = view.intrinsics
    rays = np.stack(
        [(columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1], np.ones_like(rows)], axis=-1
    )
    down = rays @ view.world_T_cam[2, :3]
    ground = np.where(down < 0, -view.world_T_cam[2, 3] / np.minimum(down, -1e-9), 0.0)
    return np.where(inverse > 0, 1.0 / np.maximum(inverse, 1e-9), ground)
