"""Colour of faces, ground and sky under sun and haze; and the shadows on the ground."""

from __future__ import annotations

import math

import cv2
import numpy as np

from bevdepth_plus.synthetic.jit import compiled, compiled_lean
from bevdepth_plus.synthetic.mesh import Material, Mesh

HAZE_LENGTH = 320.0  # metres after which 63 % of the light is haze
MATTE, PAINT, GLASS = int(Material.MATTE), int(Material.PAINT), int(Material.GLASS)
FACADE, FOLIAGE = int(Material.FACADE), int(Material.FOLIAGE)
STRIPES, LAMP, RIBS = int(Material.STRIPES), int(Material.LAMP), int(Material.RIBS)

SHADOW_REACH = 70.0  # metres around the ego vehicle


def pack_light(sun: np.ndarray, sun_colour: np.ndarray, ambient: np.ndarray,
               zenith: np.ndarray, horizon: np.ndarray) -> np.ndarray:
    """[5, 3]: sun direction, sun colour, ambient, zenith and horizon colour."""
    return np.stack([sun, sun_colour, ambient, zenith, horizon])


def ground_levels(picture: np.ndarray) -> tuple[np.ndarray, ...]:
    """The picture and five copies, each half as large as the one before."""
    levels = [picture]
    for _ in range(5):
        height, width = levels[-1].shape[:2]
        size = (max(width // 2, 1), max(height // 2, 1))
        levels.append(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA))
    return tuple(np.ascontiguousarray(v) for v in levels)


def cast_shadows(mesh: Mesh, sun: np.ndarray, shaded: np.ndarray, corner: np.ndarray,
                 texel: float) -> None:
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


@compiled_lean
def _hash(i, j):
    """A repeatable number in 0..1 for two integers."""
    h = (i * 374761393 + j * 668265263) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65535.0


@compiled_lean
def _add_haze(distance, light, out):
    clear = math.exp(-distance / HAZE_LENGTH)
    for c in range(3):
        out[c] = clear * out[c] + (1.0 - clear) * light[4, c]


@compiled_lean
def sky_colour(rx, ry, rz, clouds, light, out):
    """Gradient from horizon to zenith with thin clouds and a glow around the sun."""
    inverse = 1.0 / math.sqrt(rx * rx + ry * ry + rz * rz)
    up = max(rz * inverse, 0.0)
    blend = math.sqrt(min(1.0, up * 2.2))
    glow = max(0.0, (rx * light[0, 0] + ry * light[0, 1] + rz * light[0, 2]) * inverse)
    glow = glow * glow * glow * glow
    glow = glow * glow * glow * glow
    # the clouds lie on a plane high above
    size = clouds.shape[0]
    reach = 40.0 * inverse / (up + 0.10)
    x, y = rx * reach + 1024.0 * size, ry * reach + 1024.0 * size
    i, j = int(x), int(y)
    ax, ay = x - i, y - j
    i, j = i % size, j % size
    i1, j1 = (i + 1) % size, (j + 1) % size
    cloud = ((clouds[j, i] * (1 - ax) + clouds[j, i1] * ax) * (1 - ay)
             + (clouds[j1, i] * (1 - ax) + clouds[j1, i1] * ax) * ay)
    cloud *= min(1.0, up * 6.0)
    for c in range(3):
        base = (1.0 - blend) * light[4, c] + blend * light[3, c]
        base = base * (1.0 - cloud) + 0.97 * cloud
        out[c] = min(base + 0.35 * glow, 1.0)


@compiled_lean
def _sample(picture, x, y, out):
    """Bilinear sample; texel centres sit at integers + 0.5."""
    height, width = picture.shape[:2]
    x = min(max(x - 0.5, 0.0), width - 1.001)
    y = min(max(y - 0.5, 0.0), height - 1.001)
    i, j = int(x), int(y)
    ax, ay = x - i, y - j
    i1, j1 = min(i + 1, width - 1), min(j + 1, height - 1)
    for c in range(3):
        top = picture[j, i, c] * (1 - ax) + picture[j, i1, c] * ax
        low = picture[j1, i, c] * (1 - ax) + picture[j1, i1, c] * ax
        out[c] = (top * (1 - ay) + low * ay) / 255.0


@compiled_lean
def _is_shaded(shaded, corner, texel, x, y):
    """Share 0..1 of shade at a ground point, bilinear."""
    u, v = (x - corner[0]) / texel - 0.5, (y - corner[1]) / texel - 0.5
    if not (0 <= u < shaded.shape[1] - 1 and 0 <= v < shaded.shape[0] - 1):
        return 0.0
    i, j = int(u), int(v)
    ax, ay = u - i, v - j
    top = shaded[j, i] * (1 - ax) + shaded[j, i + 1] * ax
    low = shaded[j + 1, i] * (1 - ax) + shaded[j + 1, i + 1] * ax
    return (top * (1 - ay) + low * ay) / 255.0


@compiled_lean
def ground_colour(ox, oy, oz, rx, ry, rz, focal, levels, texel, shaded, corner, light, out):
    """Painted ground where the ray meets z = 0."""
    t = -oz / rz
    x, y = ox + t * rx, oy + t * ry
    length = math.sqrt(rx * rx + ry * ry + rz * rz)
    distance = t * length
    # footprint of a pixel: across, and much longer along the view; the level lies between
    across = distance / focal
    stretch = min(length / -rz, 6.0)
    blurred = across * across * stretch / (texel * texel)
    index = 0
    while blurred > 2.0 and index < len(levels) - 1:
        blurred *= 0.25
        index += 1
    picture = levels[0]
    if index == 1:
        picture = levels[1]
    elif index == 2:
        picture = levels[2]
    elif index == 3:
        picture = levels[3]
    elif index == 4:
        picture = levels[4]
    elif index == 5:
        picture = levels[5]
    scale = texel * (1 << index)
    _sample(picture, x / scale, y / scale, out)
    shade = _is_shaded(shaded, corner, texel, x, y)
    for c in range(3):
        strength = light[2, c] * (1.0 - 0.12 * shade) + light[1, c] * light[0, 2] * (1.0 - shade)
        out[c] *= strength
    _add_haze(distance, light, out)


@compiled_lean
def shade_face(face, ox, oy, oz, rx, ry, rz, frames, colours, materials, light, out):
    """Colour of a face where the ray from o along r meets its plane."""
    frame = frames[face]
    nx, ny, nz = frame[3, 0], frame[3, 1], frame[3, 2]
    facing = nx * rx + ny * ry + nz * rz
    px, py, pz = frame[0, 0] - ox, frame[0, 1] - oy, frame[0, 2] - oz
    t = (nx * px + ny * py + nz * pz) / facing if abs(facing) > 1e-9 else 1.0
    if facing > 0:  # faces are two-sided
        nx, ny, nz, facing = -nx, -ny, -nz, -facing
    dx, dy, dz = t * rx - px, t * ry - py, t * rz - pz
    u = dx * frame[1, 0] + dy * frame[1, 1] + dz * frame[1, 2]
    v = dx * frame[2, 0] + dy * frame[2, 1] + dz * frame[2, 2]
    length = math.sqrt(rx * rx + ry * ry + rz * rz)
    material = materials[face]
    for c in range(3):
        out[c] = colours[face, c]
    mirror = 0.0
    if material == PAINT:
        mirror = 0.10
    elif material == GLASS:
        mirror = 0.30
    elif material == STRIPES:
        if (u + v) - math.floor((u + v) / 0.5) * 0.5 < 0.25:
            out[0], out[1], out[2] = 0.92, 0.92, 0.90
    elif material == RIBS:
        if u - math.floor(u / 0.4) * 0.4 < 0.06:
            for c in range(3):
                out[c] *= 0.72
    elif material == FOLIAGE:
        grain = 0.75 + 0.5 * _hash(int(math.floor(u * 5)) + face * 7, int(math.floor(v * 5)))
        for c in range(3):
            out[c] *= grain
    elif material == FACADE and abs(nz) < 0.5:
        mirror = _facade(u, v, face, out)
    if material != LAMP:
        sun = max(0.0, nx * light[0, 0] + ny * light[0, 1] + nz * light[0, 2])
        sky = 0.72 + 0.28 * nz
        for c in range(3):
            out[c] *= light[2, c] * sky + light[1, c] * sun
    if mirror > 0:
        up = (rz - 2.0 * facing * nz) / length
        mirror *= 0.5 + 0.5 * (1.0 + facing / length) ** 2
        for c in range(3):
            blend = min(1.0, max(0.0, up) * 2.2)
            sky_c = (1 - blend) * light[4, c] + blend * light[3, c]
            if up < -0.02:
                sky_c = 0.25
            out[c] = (1 - mirror) * out[c] + mirror * sky_c
    _add_haze(abs(t) * length, light, out)


@compiled_lean
def _facade(u, v, face, out):
    """Windows in rows; returns how much the point mirrors the sky."""
    storey, bay = 3.1, 2.4 + 0.2 * (face % 5)
    iu, iv = math.floor(u / bay), math.floor(v / storey)
    fu, fv = u / bay - iu, v / storey - iv
    if 0.25 < fu < 0.75 and 0.28 < fv < 0.80:
        lit = _hash(int(iu) + face * 13, int(iv))
        if 0.47 < fu < 0.53:
            out[0], out[1], out[2] = 0.75, 0.74, 0.72  # window bar
            return 0.0
        for c in range(3):
            out[c] = 0.10 + 0.10 * lit
        return 0.45
    if fv < 0.05:
        for c in range(3):
            out[c] *= 0.82
    return 0.0
