"""Colour of what a camera sees: faces, ground and sky under sun and haze.

All compiled functions that call each other stay in this one file: numba notices a change of the
file that holds a function, but not of a function it calls elsewhere.
"""

from __future__ import annotations

import math

import numpy as np

from bevdepth_plus.synthetic.jit import compiled_lean
from bevdepth_plus.synthetic.mesh import Material, Mesh
from bevdepth_plus.synthetic.render import CameraView, Visibility

HAZE_LENGTH = 320.0  # metres after which 63 % of the light is haze
MATTE, PAINT, GLASS = int(Material.MATTE), int(Material.PAINT), int(Material.GLASS)
FACADE, FOLIAGE = int(Material.FACADE), int(Material.FOLIAGE)
STRIPES, LAMP, RIBS = int(Material.STRIPES), int(Material.LAMP), int(Material.RIBS)


def pack_light(
    sun: np.ndarray,
    sun_colour: np.ndarray,
    ambient: np.ndarray,
    zenith: np.ndarray,
    horizon: np.ndarray,
) -> np.ndarray:
    """[5, 3]: sun direction, sun colour, ambient, zenith and horizon colour."""
    return np.stack([sun, sun_colour, ambient, zenith, horizon])


def colour_image(
    mesh: Mesh,
    visibility: Visibility,
    view: CameraView,
    ground: tuple[np.ndarray, ...],
    texel: float,
    shadow: tuple[np.ndarray, np.ndarray],
    clouds: np.ndarray,
    light: np.ndarray,
) -> np.ndarray:
    """Colours what is visible.

    Args:
        mesh: faces in world coordinates.
        visibility: from :func:`find_visible` with the same mesh and view.
        view: the camera.
        ground: the painted ground and its halved copies, uint8 RGB.
        texel: metres a texel of the first of them, and of the shadow map.
        shadow: uint8 [rows, columns], 255 in the shade, and the (x, y) of its corner.
        clouds: float32 [S, S], see :func:`bevdepth_plus.synthetic.backdrop.cloud_tile`.
        light: [5, 3], see :func:`pack_light`.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    image = np.empty((view.height, view.width, 3), np.uint8)
    k = view.intrinsics
    frames = face_frames(mesh)
    _colour(
        visibility.faces,
        np.array([k[0, 0], k[1, 1], k[0, 2], k[1, 2]]),
        np.ascontiguousarray(view.world_T_cam),
        frames,
        mesh.colours,
        mesh.materials,
        ground,
        texel,
        shadow[0],
        shadow[1],
        clouds,
        light,
        image,
        np.empty(3),
        np.empty(3),
    )
    return image


def face_frames(mesh: Mesh) -> np.ndarray:
    """[F, 4, 3]: first vertex, texture axes u and v, unit normal of each face."""
    p = mesh.vertices
    u = p[:, 1] - p[:, 0]
    u /= np.maximum(np.linalg.norm(u, axis=1, keepdims=True), 1e-9)
    normal = np.cross(u, p[:, 2] - p[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return np.stack([p[:, 0], u, np.cross(normal, u), normal], axis=1)


@compiled_lean
def _shade_sample(
    face,
    x,
    y,
    camera,
    pose,
    frames,
    colours,
    materials,
    ground,
    texel,
    shaded,
    corner,
    clouds,
    light,
    out,
):
    """Colour (RGB 0..1) of the ray through image point (x, y)."""
    cx, cy = (x - camera[2]) / camera[0], (y - camera[3]) / camera[1]
    rx = pose[0, 0] * cx + pose[0, 1] * cy + pose[0, 2]
    ry = pose[1, 0] * cx + pose[1, 1] * cy + pose[1, 2]
    rz = pose[2, 0] * cx + pose[2, 1] * cy + pose[2, 2]
    ox, oy, oz = pose[0, 3], pose[1, 3], pose[2, 3]
    if face >= 0:
        shade_face(face, ox, oy, oz, rx, ry, rz, frames, colours, materials, light, out)
    elif rz < -1e-6:
        ground_colour(ox, oy, oz, rx, ry, rz, camera[0], ground, texel, shaded, corner, light, out)
    else:
        sky_colour(rx, ry, rz, clouds, light, out)


@compiled_lean
def _colour(
    faces,
    camera,
    pose,
    frames,
    colours,
    materials,
    ground,
    texel,
    shaded,
    corner,
    clouds,
    light,
    image,
    out,
    total,
):
    height, width = image.shape[:2]
    k = faces.shape[0] // height
    for row in range(height):
        for col in range(width):
            first = faces[row * k, col * k]
            same = True
            for i in range(k):
                for j in range(k):
                    same = same and faces[row * k + i, col * k + j] == first
            if same:
                _shade_sample(
                    first,
                    col + 0.5,
                    row + 0.5,
                    camera,
                    pose,
                    frames,
                    colours,
                    materials,
                    ground,
                    texel,
                    shaded,
                    corner,
                    clouds,
                    light,
                    total,
                )
            else:
                total[:] = 0.0
                for i in range(k):
                    for j in range(k):
                        _shade_sample(
                            faces[row * k + i, col * k + j],
                            col + (j + 0.5) / k,
                            row + (i + 0.5) / k,
                            camera,
                            pose,
                            frames,
                            colours,
                            materials,
                            ground,
                            texel,
                            shaded,
                            corner,
                            clouds,
                            light,
                            out,
                        )
                        for c in range(3):
                            total[c] += out[c] / (k * k)
            for c in range(3):
                image[row, col, c] = int(min(max(total[c], 0.0), 1.0) * 255.0 + 0.5)


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
    cloud = (clouds[j, i] * (1 - ax) + clouds[j, i1] * ax) * (1 - ay) + (
        clouds[j1, i] * (1 - ax) + clouds[j1, i1] * ax
    ) * ay
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
        sky = 0.82 + 0.18 * nz
        for c in range(3):
            out[c] *= light[2, c] * sky + light[1, c] * sun
    if mirror > 0:
        up = (rz - 2.0 * facing * nz) / length
        mirror *= 0.5 + 0.5 * (1.0 + facing / length) ** 2
        for c in range(3):
            blend = min(1.0, max(0.0, up) * 2.2)
            sky_c = (1 - blend) * light[4, c] + blend * light[3, c]
            if up < -0.02:
                sky_c = 0.42
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
