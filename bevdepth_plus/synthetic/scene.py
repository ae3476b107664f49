"""What exists in a scene: the road, what stands beside it, and who moves along it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from bevdepth_plus.synthetic.looks import object_mesh
from bevdepth_plus.synthetic.mesh import NOTHING, Mesh, merged
from bevdepth_plus.synthetic.planner import REACH, Planner, SceneObject
from bevdepth_plus.synthetic.road import LANE_WIDTH, Flow, Road
from bevdepth_plus.synthetic.scenery import scenery_mesh
from bevdepth_plus.synthetic.taxonomy import CLASS_SIZE, DETECTION_RANGE

KEYFRAME_PERIOD = 0.5  # s, nuScenes annotates at 2 Hz
ATTEMPTS = 6  # at a scene that has every class near the ego vehicle


@dataclass(frozen=True)
class Light:
    """Sun and sky of a scene; RGB 0..1."""

    sun: np.ndarray  # [3], unit vector towards the sun
    sun_colour: np.ndarray
    ambient: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray


@dataclass(frozen=True)
class Scene:
    """Everything that exists, from time 0 to ``duration``."""

    name: str
    road: Road
    ego_s: float
    ego_d: float
    ego_flow: Flow
    wobble: tuple[float, float]
    objects: list[SceneObject]
    scenery: Mesh
    light: Light
    seed: int

    def ego_pose(self, t: float) -> tuple[np.ndarray, tuple[float, float, float]]:
        """Position [3] of the rear axle on the ground and (yaw, pitch, roll) at time t."""
        s = self.ego_s + self.ego_flow.travelled(t)
        x, y, heading = self.road.locate(s, self.ego_d)
        pitch = 0.004 * np.sin(2.1 * t + self.wobble[0])
        roll = 0.003 * np.sin(1.7 * t + self.wobble[1])
        return np.array([float(x), float(y), 0.0]), (float(heading), float(pitch), float(roll))

    def mesh_at(self, t: float, near: np.ndarray, radius: float) -> Mesh:
        """All faces of objects within ``radius`` of a point at time t, then the scenery's."""
        parts = []
        for index, item in enumerate(self.objects):
            x, y, yaw = item.pose(self.road, t)
            if np.hypot(x - near[0], y - near[1]) < radius:
                parts.append(item.mesh.placed(x, y, yaw, index))
        centres = self.scenery.vertices[:, 0, :2]
        keep = np.hypot(*(centres - near[:2]).T) < radius + 60.0
        return merged([*parts, self.scenery.where(keep)])


def seed_for(*parts: object) -> int:
    """A 63-bit seed made from any values; the same on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def build_scene(name: str, seed: int, keyframes: int) -> Scene:
    """Builds one scene out of its name and the data set's seed.

    Args:
        name: nuScenes scene name.
        seed: the data set's seed.
        keyframes: number of key frames, 0.5 s apart.
    """
    drafts = []
    for attempt in range(ATTEMPTS):
        drafts.append(_draft(name, seed, keyframes, attempt))
        if not drafts[-1][1]:
            break
    scene, _ = min(drafts, key=lambda draft: len(draft[1]))  # the first of the most complete
    rng = np.random.default_rng(seed_for(scene.seed, "looks"))
    objects = [
        replace(o, mesh=object_mesh(o.class_name, o.size, o.active, rng)) for o in scene.objects
    ]
    return replace(scene, objects=objects, scenery=scenery_mesh(scene.road, rng))


def _draft(name: str, seed: int, keyframes: int, attempt: int) -> tuple[Scene, set[str]]:
    """A scene without meshes, and the classes it lacks at its beginning or its end."""
    scene_seed = seed_for(seed, name, attempt)
    rng = np.random.default_rng(scene_seed)
    duration = (keyframes - 1) * KEYFRAME_PERIOD
    mean = rng.uniform(4.0, 8.5)
    ego_flow = Flow(
        mean, rng.uniform(0.2, 0.6) * mean, rng.uniform(0.25, 0.5), rng.uniform(0, 2 * np.pi)
    )
    lanes = int(rng.integers(1, 3))
    length = ego_flow.travelled(duration)
    road = Road(-REACH - 80.0, length + REACH + 80.0, lanes, rng)
    ego_d = -LANE_WIDTH * (int(rng.integers(lanes)) + 0.5)
    objects = Planner(road, ego_d, ego_flow, duration, rng).populate()
    scene = Scene(
        name,
        road,
        0.0,
        ego_d,
        ego_flow,
        tuple(rng.uniform(0, 6.28, 2)),
        objects,
        NOTHING,
        _light(rng),
        scene_seed,
    )
    missing: set[str] = set()
    for t in (0.0, duration):
        x, y, _ = scene.ego_pose(t)[0]
        near = set()
        for item in objects:
            px, py, _ = item.pose(road, t)
            if np.hypot(px - x, py - y) < 0.9 * DETECTION_RANGE[item.class_name]:
                near.add(item.class_name)
        missing |= set(CLASS_SIZE) - near
    return scene, missing


def _light(rng: np.random.Generator) -> Light:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(22, 65))
    sun = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    warmth = rng.uniform(0, 1)
    cloudy = rng.uniform(0, 1)
    sun_colour = (1.0 - 0.45 * cloudy) * np.array([1.0, 0.96 - 0.08 * warmth, 0.9 - 0.2 * warmth])
    ambient = np.array([0.47, 0.51, 0.57]) * (0.9 + 0.35 * cloudy)
    blue, grey = np.array([0.30, 0.52, 0.85]), np.array([0.66, 0.70, 0.75])
    zenith = blue * (1 - cloudy) + grey * cloudy
    horizon = np.array([0.80, 0.86, 0.92]) * (1 - 0.1 * warmth)
    return Light(sun, 0.85 * sun_colour, ambient, zenith, horizon)
