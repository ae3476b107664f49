"""One scene made ready for rendering: what all its pictures share, and its names in the tables."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.spatial.transform import Rotation

from bevdepth_plus.rigs.rig import Rig
from bevdepth_plus.synthetic.backdrop import (
    SHADOW_REACH,
    cast_shadows,
    cloud_tile,
    ground_levels,
)
from bevdepth_plus.synthetic.mesh import Mesh
from bevdepth_plus.synthetic.scene import Scene, build_scene
from bevdepth_plus.synthetic.scenery import ground_picture

GROUND_TEXEL = 0.1  # metres; also the resolution nuScenes map masks have
FIRST_TIMESTAMP = 1_530_000_000_000_000  # microseconds
SCENE_SPACING = 100_000_000  # microseconds between scenes of neighbouring numbers


def token(*parts: object) -> str:
    """32 hexadecimal characters made from any values."""
    return hashlib.md5("/".join(map(str, parts)).encode()).hexdigest()


@dataclass(frozen=True)
class Studio:
    """One scene made ready for rendering."""

    scene: Scene
    rig: Rig
    seed: int

    @cached_property
    def ground(self) -> tuple[np.ndarray, ...]:
        """The painted ground and its smaller copies."""
        return ground_levels(ground_picture(self.scene.road, self.scene.seed, GROUND_TEXEL))

    @cached_property
    def still_shade(self) -> np.ndarray:
        """Shadows of the scenery on the whole map, uint8 [rows, columns]."""
        shaded = np.zeros(self.ground[0].shape[:2], np.uint8)
        cast_shadows(self.scene.scenery, self.scene.light.sun, shaded, np.zeros(2), GROUND_TEXEL)
        return shaded

    @cached_property
    def clouds(self) -> np.ndarray:
        """The scene's clouds."""
        return cloud_tile(self.scene.seed)

    def shade_around(self, centre: np.ndarray, mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
        """Shadows near a point, with those of a mesh: the map and the (x, y) of its corner."""
        first = np.maximum(np.floor((centre[:2] - SHADOW_REACH) / GROUND_TEXEL), 0).astype(int)
        last = np.ceil((centre[:2] + SHADOW_REACH) / GROUND_TEXEL).astype(int)
        shaded = self.still_shade[first[1] : last[1], first[0] : last[0]].copy()
        corner = first * GROUND_TEXEL
        cast_shadows(mesh, self.scene.light.sun, shaded, corner, GROUND_TEXEL)
        return shaded, corner

    @classmethod
    def open(cls, name: str, seed: int, keyframes: int, rig: Rig) -> Studio:
        """Builds the scene of this name."""
        return cls(build_scene(name, seed, keyframes), rig, seed)

    @property
    def log_name(self) -> str:
        """Stem of all file names of the scene."""
        return f"synthetic-{self.seed}-{self.scene.name}"

    def timestamp(self, t: float) -> int:
        """Microseconds of scene time t (s)."""
        number = int(self.scene.name.rsplit("-", 1)[1])
        return FIRST_TIMESTAMP + number * SCENE_SPACING + round(t * 1e6)


def ego_matrix(scene: Scene, t: float) -> np.ndarray:
    """global_T_ego [4, 4] at time t."""
    position, angles = scene.ego_pose(t)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_euler("ZYX", angles).as_matrix()
    pose[:3, 3] = position
    return pose
