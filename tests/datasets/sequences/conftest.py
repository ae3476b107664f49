"""Tiny folders of each layout: a textured wall, seen by a camera that moves and turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

NUM_FRAMES = 6
SIZE = (96, 128)  # height, width
# As calibrations give them: pixel centres at integers.
K = np.array([[110.0, 0, 61.5], [0, 112.0, 49.5], [0, 0, 1]])
DEPTH_SIZE = (48, 64)
DEPTH_K = np.array([[58.0, 0, 33.0], [0, 57.0, 22.5], [0, 0, 1]])
WAVELENGTH = 0.55  # metres on the wall, about 30 pixels


@dataclass(frozen=True)
class Wall:
    """A plane with a smooth texture, somewhere in the world."""

    world_T_wall: np.ndarray

    def pose(self, number: int) -> np.ndarray:
        """world_T_cam: about 2 m before the wall, sideways and turning."""
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("YXZ", [4 * number - 8, 5, 3 * number], True).as_matrix()
        pose[:3, 3] = (0.08 * number, 0.03 * number, -2 - 0.05 * number)
        return self.world_T_wall @ pose

    def depth(self, pose: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Metres along the optical axis, pixel centres at integers, [H, W]."""
        wall_T_cam = np.linalg.inv(self.world_T_wall) @ pose
        columns, rows = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
        pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
        rays = pixels @ np.linalg.inv(matrix).T @ wall_T_cam[:3, :3].T
        return -wall_T_cam[2, 3] / rays[..., 2]

    def image(self, pose: np.ndarray) -> np.ndarray:
        """uint8 BGR [H, W, 3]."""
        columns, rows = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
        pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
        in_cam = pixels @ np.linalg.inv(K).T * self.depth(pose, K, SIZE)[..., None]
        return np.round(self.texture(in_cam @ pose[:3, :3].T + pose[:3, 3])).astype(np.uint8)

    def texture(self, in_world: np.ndarray) -> np.ndarray:
        """Grey levels of points of the world, [..., 3]."""
        wall_T_world = np.linalg.inv(self.world_T_wall)
        on_wall = in_world @ wall_T_world[:3, :3].T + wall_T_world[:3, 3]
        x, y = (2 * np.pi * on_wall[..., axis] / WAVELENGTH for axis in (0, 1))
        return 127 + 100 * np.stack([np.sin(x), np.sin(y), np.sin(x + y + 1)], axis=-1)


@pytest.fixture(scope="session")
def wall() -> Wall:
    world_T_wall = np.eye(4)
    world_T_wall[:3, :3] = Rotation.from_euler("xyz", [50, -20, 110], True).as_matrix()
    world_T_wall[:3, 3] = (3, -1, 7)
    return Wall(world_T_wall)


def write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def write_text(path: Path, *rows: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))


def lines(matrix: np.ndarray) -> list[str]:
    return [" ".join(f"{value:.9g}" for value in row) for row in matrix]


def turned(millimetres: np.ndarray) -> np.ndarray:
    """As SUN3D stores depth: the bits turned left by three."""
    wide = millimetres.astype(np.uint32)
    return (((wide << 3) | (wide >> 13)) & 0xFFFF).astype(np.uint16)


def write_scannet(folder: Path, wall: Wall, name: str = "scene0000_00") -> None:
    scene = folder / name
    for number in range(NUM_FRAMES):
        pose = wall.pose(number)
        depth = np.round(1000 * wall.depth(pose, DEPTH_K, DEPTH_SIZE)).astype(np.uint16)
        write_png(scene / f"color/{number}.png", wall.image(pose))
        write_png(scene / f"depth/{number}.png", depth)
        write_text(scene / f"pose/{number}.txt", *lines(pose))
    for kind, matrix in (("color", K), ("depth", DEPTH_K)):
        square = np.eye(4)
        square[:3, :3] = matrix
        write_text(scene / f"intrinsic/intrinsic_{kind}.txt", *lines(square))


def write_sun3d(folder: Path, wall: Wall, name: str = "hotel") -> None:
    place = folder / name
    rows: list[str] = []
    for number in range(NUM_FRAMES):
        pose, time = wall.pose(number), 33333 * number
        depth = np.round(1000 * wall.depth(pose, K, SIZE)).astype(np.uint16)
        write_png(place / f"image/{number + 1:07d}-{time:012d}.png", wall.image(pose))
        write_png(place / f"depth/{number + 1:07d}-{time + 9000:012d}.png", turned(depth))
        rows += lines(pose[:3])
    # A picture of another moment shifts numbers; times still say what belongs together.
    write_png(place / f"depth/{NUM_FRAMES + 9:07d}-{15000:012d}.png", np.ones(SIZE, np.uint16))
    write_text(place / "extrinsics/20130101000000.txt", *lines(np.eye(4)[:3]))
    write_text(place / "extrinsics/20130512130736.txt", *rows)
    write_text(place / "intrinsics.txt", *lines(K))


def write_prepared(folder: Path, wall: Wall, name: str = "flat") -> None:
    place = folder / name
    rows: list[str] = []
    for number in range(NUM_FRAMES):
        pose = wall.pose(number)
        depth = np.round(1000 * wall.depth(pose, K, SIZE)).astype(np.uint16)
        write_png(place / f"color/{number:06d}.png", wall.image(pose))
        write_png(place / f"depth/{number:06d}.png", depth)
        rows += lines(pose[:3])
    write_text(place / "pose/20130512130736.txt", *rows)
    write_text(place / "intrinsics.txt", *lines(K))


def write_tum(folder: Path, wall: Wall, name: str = "rgbd_dataset_desk") -> None:
    place = folder / name
    lists: dict[str, list[str]] = {"rgb": [], "depth": [], "groundtruth": ["# time tx ... qw"]}
    start = 1305031102.0
    for number in range(NUM_FRAMES):
        pose, time = wall.pose(number), start + number / 30
        depth = np.round(5000 * wall.depth(pose, K, SIZE)).astype(np.uint16)
        write_png(place / f"rgb/{time:.6f}.png", wall.image(pose))
        write_png(place / f"depth/{time + 0.011:.6f}.png", depth)
        lists["rgb"].append(f"{time:.6f} rgb/{time:.6f}.png")
        lists["depth"].append(f"{time + 0.011:.6f} depth/{time + 0.011:.6f}.png")
        x, y, z, w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        position = " ".join(f"{value:.6f}" for value in pose[:3, 3])
        lists["groundtruth"].append(
            f"{time + 0.003:.4f} {position} {x:.9f} {y:.9f} {z:.9f} {w:.9f}"
        )
        lists["groundtruth"].append(f"{time + 0.0155:.4f} 0 0 0 0 0 0 1")  # of another moment
    for kind, rows in lists.items():
        write_text(place / f"{kind}.txt", *rows)


WRITERS: dict[str, Callable[..., None]] = {
    "scannet": write_scannet,
    "sun3d": write_sun3d,
    "prepared": write_prepared,
    "tum": write_tum,
}
OPTIONS: dict[str, dict] = {"tum": {"intrinsics": (K[0, 0], K[1, 1], K[0, 2], K[1, 2])}}


@pytest.fixture
def write(tmp_path, wall) -> Callable[..., dict]:
    """Writes a folder of a layout; returns the source of a config and leaves ROOT/SEQUENCE."""

    def make(layout: str, **options: object) -> dict:
        WRITERS[layout](tmp_path / layout, wall)
        root = str(tmp_path / layout)
        return {"layout": layout, "root": root, **OPTIONS.get(layout, {}), **options}

    return make


@pytest.fixture
def write_depth() -> Callable[[Path, np.ndarray], None]:
    return write_png
