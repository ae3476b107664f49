"""What the colouring looks up: the painted ground, the shadows on it, and the clouds."""

from __future__ import annotations

import math

import cv2
import numpy as np

from bevdepth_plus.synthetic.jit import compiled
from bevdepth_plus.synthetic.mesh import Mesh

SHADOW_REACH = 70.0  # metres around the ego vehicle


def ground_levels(picture: np.ndarray) -> tuple[np.ndarray, ...]:
    """The picture and five copies, each half as large as the one before."""
    levels = [picture]
    for _ in range(5):
        height, width = levels[-1].shape[:2]
        size = (max(width // 2, 1), max(height // 2, 1))
        levels.append(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA))
    return tuple(np.ascontiguousarray(v) for v in levels)


def cast_shadows(
    mesh: Mesh, sun: np.ndarray, shaded: np.ndarray, corner: np.ndarray, texel: float
) -> None:
    """Draws the shadows of all faces into a map of the ground.

    Args:
        mesh: faces in world coordinates.
        sun: [3], unit vector towards the sun.
        shaded: uint8 [rows (y), columns (x)], set to 255 in the shade.
        corner: (x, y) of the map's first texel.
        texel: metres.
    """
    fall = mesh.vertices[..., :2] - mesh.vertices[..., 2:] * (sun[:2] / sun[2])
    _fill((fall - corner) / texel, mesh.counts, shaded)


@compiled
def _fill(polygons, counts, picture):
    """Sets 255 wherever a texel's centre lies in one of the convex polygons [F, V, 2]."""
    height, width = picture.shape
    for f in range(len(counts)):
        p, n = polygons[f], counts[f]
        low, high = p[0, 1], p[0, 1]
        for i in range(1, n):
            low, high = min(low, p[i, 1]), max(high, p[i, 1])
        first = int(math.ceil(max(low, 0.0) - 0.5))
        last = int(math.floor(min(high, float(height)) - 0.5))
        for row in range(max(first, 0), min(last, height - 1) + 1):
            y = row + 0.5
            left, right = 1e30, -1e30
            for i in range(n):
                j = (i + 1) % n
                if (p[i, 1] <= y) != (p[j, 1] <= y):
                    x = p[i, 0] + (y - p[i, 1]) / (p[j, 1] - p[i, 1]) * (p[j, 0] - p[i, 0])
                    left, right = min(left, x), max(right, x)
            if right < 0 or left > width:
                continue
            start = max(int(math.ceil(max(left, 0.0) - 0.5)), 0)
            stop = min(int(math.ceil(min(right, float(width)) - 0.5)), width)
            for col in range(start, stop):
                picture[row, col] = 255


def cloud_tile(seed: int, size: int = 256) -> np.ndarray:
    """Cover 0..1 of thin clouds, float32 [size, size], which repeats without a seam."""
    rng = np.random.default_rng(seed)
    frequency = np.fft.fftfreq(size)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    radius[0, 0] = 1.0
    spectrum = np.fft.fft2(rng.normal(size=(size, size))) / radius**1.7
    spectrum[radius < 2.5 / size] = 0.0
    field = np.real(np.fft.ifft2(spectrum))
    field /= field.std()
    cover = np.clip(0.45 * (field + rng.uniform(-0.9, 0.4)), 0.0, 0.85)
    return np.ascontiguousarray(cover, np.float32)
