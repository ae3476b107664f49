"""Colour of faces, ground and sky under sun and haze; and the shadows on the ground."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numba import njit

from bevdepth_plus.synthetic.mesh import Material, Mesh

HAZE_LENGTH = 320.0  # metres after which 63 % of the light is haze
MATTE, PAINT, GLASS = int(Material.MATTE), int(Material.PAINT), int(Material.GLASS)
FACADE, FOLIAGE = int(Material.FACADE), int(Material.FOLIAGE)
STRIPES, LAMP, RIBS = int(Material.STRIPES), int(Material.LAMP), int(Material.RIBS)

SHADOW_TEXEL = 0.125  # metres
SHADOW_REACH = 70.0  # metres around the ego vehicle
SHADE = 0.52  # brightness of shaded ground


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


def cast_shadows(mesh: Mesh, sun: np.ndarray,
                 centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Brightness of the ground around a point, with the shadows of all faces.

    Args:
        mesh: faces in world coordinates.
        sun: [3], unit vector towards the sun.
        centre: [3], middle of the map.

    Returns:
        float32 [S, S] (rows y, columns x) and (x, y of its corner, metres a texel).
    """
    size = int(2 * SHADOW_REACH / SHADOW_TEXEL)
    corner = centre[:2] - SHADOW_REACH
    fall = mesh.vertices[..., :2] - mesh.vertices[..., 2:] * sun[:2] / sun[2]
    texels = (fall - corner) / SHADOW_TEXEL
    low, high = texels.min(axis=1), texels.max(axis=1)
    inside = (high > 0).all(axis=1) & (low < size).all(axis=1)
    shaded = np.zeros((size, size), np.uint8)
    fixed = np.round(np.clip(texels, -2e4, 2e4) * 16 - 8).astype(np.int32)
    for f in np.flatnonzero(inside):
        cv2.fillConvexPoly(shaded, fixed[f, : mesh.counts[f]], 255, cv2.LINE_8, 4)
    soft = cv2.blur(shaded, (5, 5)).astype(np.float32) / 255
    frame = np.array([corner[0], corner[1], SHADOW_TEXEL])
    return 1.0 - (1.0 - SHADE) * soft, frame


@njit(cache=True)
def _hash(i, j):
    """A repeatable number in 0..1 for two integers."""
    h = (i * 374761393 + j * 668265263) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFF) / 65535.0


@njit(cache=True)
def _add_haze(distance, light, out):
    clear = math.exp(-distance / HAZE_LENGTH)
    for c in range(3):
        out[c] = clear * out[c] + (1.0 - clear) * light[4, c]


@njit(cache=True)
def sky_colour(rx, ry, rz, light, out):
    """Gradient from horizon to zenith with thin clouds and a glow around the sun."""
    length = math.sqrt(rx * rx + ry * ry + rz * rz)
    up = max(rz / length, 0.0)
    blend = min(1.0, up * 2.2) ** 0.6
    glow = max(0.0, (rx * light[0, 0] + ry * light[0, 1] + rz * light[0, 2]) / length) ** 24
    cloud = 0.0
    if up > 0.02:
        # two octaves of value noise on a plane high above
        x, y = rx / (rz + 0.12 * length) * 1.6, ry / (rz + 0.12 * length) * 1.6
        for octave in range(3):
            fx, fy = math.floor(x), math.floor(y)
            ax, ay = x - fx, y - fy
            ax, ay = ax * ax * (3 - 2 * ax), ay * ay * (3 - 2 * ay)
            i, j = int(fx), int(fy)
            value = ((_hash(i, j) * (1 - ax) + _hash(i + 1, j) * ax) * (1 - ay)
                     + (_hash(i, j + 1) * (1 - ax) + _hash(i + 1, j + 1) * ax) * ay)
            cloud += value / (1 << octave)
            x, y = x * 2.03 + 17.0, y * 2.03 + 5.0
        cloud = min(max((cloud - 0.85) * 1.5, 0.0), 0.75) * min(1.0, up * 6.0)
    for c in range(3):
        base = (1.0 - blend) * light[4, c] + blend * light[3, c]
        base = base * (1.0 - cloud) + 0.97 * cloud
        out[c] = min(base + 0.35 * glow, 1.0)


@njit(cache=True)
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


@njit(cache=True)
def ground_colour(ox, oy, oz, rx, ry, rz, focal, levels, texel, shadow, shadow_frame, light, out):
    """Painted ground where the ray meets z = 0."""
    t = -oz / rz
    x, y = ox + t * rx, oy + t * ry
    length = math.sqrt(rx * rx + ry * ry + rz * rz)
    distance = t * length
    # footprint of a pixel: across, and much longer along the view
    across = distance / focal
    along = across * length / max(-rz, 1e-3)
    level = math.log2(max(math.sqrt(across * min(along, 12.0 * across)) / texel, 1.0))
    index = min(int(level + 0.5), len(levels) - 1)
    scale = texel * (1 << index)
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
    _sample(picture, x / scale, y / scale, out)
    u = (x - shadow_frame[0]) / shadow_frame[2]
    v = (y - shadow_frame[1]) / shadow_frame[2]
    lit = 1.0
    if 0 <= u < shadow.shape[1] - 1 and 0 <= v < shadow.shape[0] - 1:
        i, j = int(u), int(v)
        lit = shadow[j, i]
    for c in range(3):
        strength = light[2, c] + light[1, c] * max(light[0, 2], 0.0) * (lit - SHADE) / (1 - SHADE)
        strength *= 0.75 + 0.25 * lit
        out[c] = out[c] * strength
    _add_haze(distance, light, out)


@njit(cache=True)
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
        grain = 0.97 + 0.06 * _hash(int(math.floor(u * 9)) + 31 * face, int(math.floor(v * 9)))
        for c in range(3):
            out[c] *= (light[2, c] * sky + light[1, c] * sun) * grain
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


@njit(cache=True)
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
