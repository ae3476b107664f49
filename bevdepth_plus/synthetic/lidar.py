"""What a spinning 32-beam LiDAR measures: every beam is tested against every face it can meet."""

from __future__ import annotations

import math

import numpy as np

from bevdepth_plus.synthetic.jit import compiled
from bevdepth_plus.synthetic.mesh import Material, Mesh

# An HDL-32E as in nuScenes: ring 0 lowest, 1.33 degrees apart, about 1085 shots a turn.
ELEVATIONS = np.radians(np.linspace(-30.67, 10.67, 32))
AZIMUTHS = 1085
MAX_RANGE = 100.0
MIN_RANGE = 1.0
RANGE_NOISE = 0.01  # metres, one sigma
DROPPED = 0.02  # share of returns that get lost

_REFLECTIVITY = np.array([0.30, 0.45, 0.08, 0.35, 0.25, 0.80, 0.90, 0.40])
assert len(_REFLECTIVITY) == len(Material)


def scan(
    mesh: Mesh,
    world_T_lidar: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """One instantaneous turn.

    Args:
        mesh: faces in world coordinates; the ground is z = 0.
        world_T_lidar: [4, 4] pose.
        rng: of noise and lost returns.

    Returns:
        float32 [P, 5]: x, y, z (LiDAR frame), intensity 0..255, ring.
    """
    azimuths = -np.pi + (np.arange(AZIMUTHS) + 0.5) * 2 * np.pi / AZIMUTHS
    rotation, origin = world_T_lidar[:3, :3], world_T_lidar[:3, 3]
    points = (mesh.vertices - origin) @ rotation
    beams = np.stack(
        [
            np.cos(ELEVATIONS) * np.cos(azimuths)[:, None],
            np.cos(ELEVATIONS) * np.sin(azimuths)[:, None],
            np.broadcast_to(np.sin(ELEVATIONS), (AZIMUTHS, len(ELEVATIONS))),
        ],
        axis=-1,
    )
    ranges = np.full(beams.shape[:2], np.inf)
    hits = np.full(beams.shape[:2], -1, np.int32)
    cosines = np.ones(beams.shape[:2])
    down = beams @ rotation[2]
    np.divide(-origin[2], down, out=ranges, where=down < -1e-6)
    cosines[down < 0] = -down[down < 0]
    _cast(points, mesh.counts, beams, ranges, hits, cosines)

    base = np.where(
        hits >= 0,
        _REFLECTIVITY[mesh.materials[hits]] * (0.4 + 0.6 * mesh.colours[hits].mean(axis=-1)),
        0.12,
    )
    intensity = np.clip(255 * base * (0.3 + 0.7 * np.abs(cosines)), 1, 255)
    noise = rng.normal(0, RANGE_NOISE, ranges.shape)
    lost = rng.random(ranges.shape) < DROPPED
    kept = (ranges < MAX_RANGE) & (ranges > MIN_RANGE) & ~lost
    xyz = beams * np.where(kept, ranges + noise, 0.0)[..., None]
    rings = np.broadcast_to(np.arange(len(ELEVATIONS)), ranges.shape)
    cloud = np.concatenate([xyz, np.floor(intensity)[..., None], rings[..., None]], axis=-1)
    return cloud[kept].astype(np.float32)


@compiled
def _cast(points, counts, beams, ranges, hits, cosines):
    """Shortens ``ranges`` [A, R] where a face is nearer, and notes which."""
    columns, rings = ranges.shape
    for f in range(len(counts)):
        n = counts[f]
        p = points[f]
        # azimuths the face spans, unwrapped along its outline
        low = high = angle = previous = math.atan2(p[0, 1], p[0, 0])
        nearest = 1e30
        nx, ny, nz = 0.0, 0.0, 0.0
        for i in range(n):
            j = (i + 1) % n
            step = math.atan2(p[j, 1], p[j, 0]) - previous
            previous += step
            step -= 2 * math.pi * math.floor((step + math.pi) / (2 * math.pi))
            angle += step
            low, high = min(low, angle), max(high, angle)
            nearest = min(nearest, p[i, 0] ** 2 + p[i, 1] ** 2)
            nx += (p[i, 1] - p[j, 1]) * (p[i, 2] + p[j, 2])
            ny += (p[i, 2] - p[j, 2]) * (p[i, 0] + p[j, 0])
            nz += (p[i, 0] - p[j, 0]) * (p[i, 1] + p[j, 1])
        norm = math.sqrt(nx * nx + ny * ny + nz * nz)
        if norm < 1e-12 or high - low > 1.9 * math.pi:
            continue  # degenerate, or right above or below the sensor
        nx, ny, nz = nx / norm, ny / norm, nz / norm
        offset = nx * p[0, 0] + ny * p[0, 1] + nz * p[0, 2]
        first = int(math.ceil((low + math.pi) / (2 * math.pi) * columns - 0.5))
        last = int(math.floor((high + math.pi) / (2 * math.pi) * columns - 0.5))
        for index in range(first, last + 1):
            col = index % columns
            for ring in range(rings):
                bx, by, bz = beams[col, ring, 0], beams[col, ring, 1], beams[col, ring, 2]
                facing = nx * bx + ny * by + nz * bz
                if abs(facing) < 1e-9:
                    continue
                t = offset / facing
                if t <= 0 or t >= ranges[col, ring]:
                    continue
                x, y, z = t * bx, t * by, t * bz
                inside = True
                for i in range(n):
                    j = (i + 1) % n
                    ex, ey, ez = p[j, 0] - p[i, 0], p[j, 1] - p[i, 1], p[j, 2] - p[i, 2]
                    qx, qy, qz = x - p[i, 0], y - p[i, 1], z - p[i, 2]
                    if (
                        nx * (ey * qz - ez * qy)
                        + ny * (ez * qx - ex * qz)
                        + nz * (ex * qy - ey * qx)
                    ) < -1e-9:
                        inside = False
                        break
                if inside:
                    ranges[col, ring] = t
                    hits[col, ring] = f
                    cosines[col, ring] = facing
