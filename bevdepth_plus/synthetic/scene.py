"""What exists in a scene: the road, what stands beside it, and who moves along it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from bevdepth_plus.synthetic.looks import object_mesh
from bevdepth_plus.synthetic.mesh import Mesh, merged
from bevdepth_plus.synthetic.road import LANE_WIDTH, STILL, Flow, Road
from bevdepth_plus.synthetic.scenery import scenery_mesh
from bevdepth_plus.synthetic.taxonomy import CLASS_SIZE, RIDER_HEIGHT, attribute_of

KEYFRAME_PERIOD = 0.5  # s, nuScenes annotates at 2 Hz
REACH = 100.0  # metres of road populated before the first and after the last ego position
EGO_SIZE = (4.6, 2.2)  # metres kept free around the ego vehicle
EGO_CENTRE = 1.3  # metres from the rear axle to the ego vehicle's centre


@dataclass(frozen=True)
class SceneObject:
    """One object; it drives along the road or stands beside it.

    Attributes:
        class_name: one of the ten detection classes.
        size: (length, width, height), metres.
        s: position along the road at time 0.
        d: position across the road, left positive.
        turn: heading relative to the road, rad.
        direction: +1 along the road, -1 against it.
        flow: how it moves.
        parked: it never moves.
        rider: for cycles, whether somebody sits on it.
        mesh: its faces, around its bottom centre.
    """

    class_name: str
    size: tuple[float, float, float]
    s: float
    d: float
    turn: float
    direction: int
    flow: Flow
    parked: bool
    rider: bool
    mesh: Mesh

    def pose(self, road: Road, t: float) -> tuple[float, float, float]:
        """Global x, y and yaw at time t (s)."""
        x, y, heading = road.locate(self.s + self.direction * self.flow.travelled(t), self.d)
        return float(x), float(y), float(heading) + self.turn

    def attribute(self, t: float) -> str:
        """The nuScenes attribute at time t."""
        return attribute_of(self.class_name, self.flow.speed(t), self.parked, self.rider)


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
    scene_seed = seed_for(seed, name)
    rng = np.random.default_rng(scene_seed)
    duration = (keyframes - 1) * KEYFRAME_PERIOD
    mean = rng.uniform(4.0, 8.5)
    ego_flow = Flow(mean, rng.uniform(0.2, 0.6) * mean, rng.uniform(0.25, 0.5),
                    rng.uniform(0, 2 * np.pi))
    lanes = int(rng.integers(1, 3))
    length = ego_flow.travelled(duration)
    road = Road(-REACH - 80.0, length + REACH + 80.0, lanes, rng)
    ego_d = -LANE_WIDTH * (int(rng.integers(lanes)) + 0.5)
    planner = _Planner(road, ego_d, ego_flow, duration, rng)
    objects = planner.populate()
    return Scene(name, road, 0.0, ego_d, ego_flow, tuple(rng.uniform(0, 6.28, 2)), objects,
                 scenery_mesh(road, rng), _light(rng), scene_seed)


def _light(rng: np.random.Generator) -> Light:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(22, 65))
    sun = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth),
                    np.sin(elevation)])
    warmth = rng.uniform(0, 1)
    cloudy = rng.uniform(0, 1)
    sun_colour = (1.0 - 0.45 * cloudy) * np.array([1.0, 0.96 - 0.08 * warmth, 0.9 - 0.2 * warmth])
    ambient = np.array([0.47, 0.51, 0.57]) * (0.9 + 0.35 * cloudy)
    blue, grey = np.array([0.30, 0.52, 0.85]), np.array([0.66, 0.70, 0.75])
    zenith = blue * (1 - cloudy) + grey * cloudy
    horizon = np.array([0.80, 0.86, 0.92]) * (1 - 0.1 * warmth)
    return Light(sun, 0.85 * sun_colour, ambient, zenith, horizon)


class _Planner:
    """Fills a road with objects so that nothing ever overlaps anything."""

    def __init__(self, road: Road, ego_d: float, ego_flow: Flow, duration: float,
                 rng: np.random.Generator) -> None:
        self.road, self.ego_d, self.ego_flow = road, ego_d, ego_flow
        self.duration, self.rng = duration, rng
        self.times = np.arange(0.0, duration + 0.26, 0.25)
        self.objects: list[SceneObject] = []
        self._corners: list[np.ndarray] = []  # [T, 4, 2] of everything placed
        self._centres: list[np.ndarray] = []  # [T, 2]
        self._add_footprint(0.0, ego_d, 0.0, 1, ego_flow, EGO_SIZE, EGO_CENTRE)

    def populate(self) -> list[SceneObject]:
        """Places everything and returns the objects."""
        low, high = -REACH, self.ego_flow.travelled(self.duration) + REACH
        for side in (-1, 1):
            self._parking(side, low, high)
            for lane in range(self.road.lanes):
                self._traffic(side, lane, low, high)
            self._cyclists(side, low, high)
            self._sidewalk(side, low, high)
        return self.objects

    def _traffic(self, side: int, lane: int, low: float, high: float) -> None:
        rng = self.rng
        d = side * LANE_WIDTH * (lane + 0.5)
        direction = -side  # traffic keeps to the right
        if d == self.ego_d:
            flow = self.ego_flow
        else:
            mean = rng.uniform(3.5, 9.0)
            flow = Flow(mean, rng.choice([0.3, 0.6, 1.0]) * mean, rng.uniform(0.2, 0.5),
                        rng.uniform(0, 2 * np.pi))
        reach = flow.travelled(self.duration)
        first, last = (low - reach, high) if direction > 0 else (low, high + reach)
        s = first + rng.uniform(0, 15)
        deck = _Deck(["car"] * 4 + ["truck", "bus", "motorcycle", "rig", "construction_vehicle"],
                     rng)
        while s < last:
            kind = deck.draw()
            wobble = rng.uniform(-0.2, 0.2)
            if kind == "rig":  # a truck with its trailer behind
                truck = self._place("truck", s, d, direction, flow)
                if truck is not None:
                    size = self._size("trailer")
                    gap = truck.size[0] / 2 + size[0] / 2 + 0.5
                    self._place("trailer", s - direction * gap, d, direction, flow, size=size)
                s += 12.0
            else:
                self._place(kind, s, d + (wobble if kind in ("car", "motorcycle") else 0.0),
                            direction, flow, active=True)
            s += rng.uniform(17.0, 36.0)

    def _cyclists(self, side: int, low: float, high: float) -> None:
        rng = self.rng
        d, direction = side * (self.road.lanes_end + 0.9), -side
        flow = Flow(rng.uniform(2.5, 4.5))
        reach = flow.travelled(self.duration)
        first, last = (low - reach, high) if direction > 0 else (low, high + reach)
        s = first + rng.uniform(0, 15)
        deck = _Deck(["bicycle", "bicycle", "motorcycle"], rng)
        while s < last:
            self._place(deck.draw(), s, d + rng.uniform(-0.25, 0.25), direction, flow, active=True)
            s += rng.uniform(18.0, 45.0)

    def _parking(self, side: int, low: float, high: float) -> None:
        rng = self.rng
        d, direction = side * (self.road.lanes_end + 1.8 + 1.55), -side
        deck = _Deck(["car"] * 4 + ["gap"] * 5 + ["site"] * 2
                     + ["truck", "trailer", "bus", "cones", "barriers"], rng)
        s = low + rng.uniform(0, 6)
        while s < high:
            kind = deck.draw()
            if kind == "gap":
                s += rng.uniform(5.0, 10.0)
            elif kind == "site":
                s = self._site(s, d, side)
            elif kind == "cones":
                for _ in range(3):
                    self._place("traffic_cone", s, d - side * rng.uniform(0.3, 1.2), direction)
                    s += rng.uniform(2.0, 3.2)
            elif kind == "barriers":
                for _ in range(3):  # boards along the road: their thin side faces it
                    s += 1.4
                    self._place("barrier", s, d - side * 0.9, direction, turn=np.pi / 2)
                    s += 1.5
            else:
                size = self._size(kind)
                self._place(kind, s + size[0] / 2, d + rng.uniform(-0.1, 0.1), direction, size=size,
                            turn=rng.normal(0, 0.015))
                s += size[0] + rng.uniform(0.9, 2.2)
            s += 0.6

    def _site(self, s: float, d: float, side: int) -> float:
        """A construction site in the parking lane; returns where it ends."""
        rng, direction = self.rng, -side
        self._place("barrier", s + 0.4, d, direction, turn=rng.choice([0.0, np.pi]))
        for step in (2.2, 8.8):
            self._place("traffic_cone", s + step, d - side * 1.75, direction)
        if rng.random() < 0.6:
            self._place("pedestrian", s + 1.9, d + rng.uniform(-0.5, 0.8), direction,
                        turn=rng.uniform(-np.pi, np.pi))
        self._place("construction_vehicle", s + 6.4, d, direction,
                    turn=rng.choice([0.0, np.pi]) + rng.normal(0, 0.02))
        self._place("barrier", s + 10.6, d, direction, turn=rng.choice([0.0, np.pi]))
        return s + 12.0

    def _sidewalk(self, side: int, low: float, high: float) -> None:
        rng, kerb = self.rng, self.road.kerb
        for offset, direction in ((1.0, 1), (2.0, -1)):
            flow = Flow(rng.uniform(0.9, 1.6))
            s = low + rng.uniform(0, 25)
            while s < high:
                self._place("pedestrian", s, side * (kerb + offset + rng.uniform(-0.12, 0.12)),
                            direction, flow, active=True)
                s += rng.choice([1.2, rng.uniform(25, 80)], p=[0.2, 0.8])
        s = low + rng.uniform(0, 15)
        deck = _Deck(["bicycle", "pedestrian", "motorcycle", "pedestrian", "traffic_cone"], rng)
        while s < high:
            kind = deck.draw()
            turn = rng.uniform(-np.pi, np.pi) if kind == "pedestrian" else rng.normal(0, 0.1)
            self._place(kind, s, side * (kerb + 3.2 + rng.uniform(-0.1, 0.3)),
                        int(rng.choice([-1, 1])), turn=turn)
            s += rng.uniform(12.0, 30.0)

    def _size(self, class_name: str, rider: bool = False) -> tuple[float, float, float]:
        base = np.array(CLASS_SIZE[class_name])
        if rider:
            base[2] = RIDER_HEIGHT[class_name]
        size = base * np.clip(1 + 0.05 * self.rng.normal(size=3), 0.88, 1.12)
        if class_name in ("trailer", "bus", "truck", "construction_vehicle"):
            size[1] = min(size[1], 2.95)  # keeps within its lane
        return tuple(float(round(v, 3)) for v in size)

    def _place(self, class_name: str, s: float, d: float, direction: int, flow: Flow = STILL,
               turn: float = 0.0, active: bool = False,
               size: tuple[float, float, float] | None = None) -> SceneObject | None:
        """Adds an object unless it would ever touch another one; returns it if it was added."""
        rider = active and class_name in RIDER_HEIGHT
        size = size or self._size(class_name, rider)
        turn = float(turn) + (np.pi if direction < 0 else 0.0)
        if not self._add_footprint(s, d, turn, direction, flow, size[:2]):
            return None
        mesh = object_mesh(class_name, size, active, self.rng)
        item = SceneObject(class_name, size, float(s), float(d), turn, direction, flow,
                           flow is STILL, rider, mesh)
        self.objects.append(item)
        return item

    def _add_footprint(self, s: float, d: float, turn: float, direction: int, flow: Flow,
                       size: tuple[float, float], ahead: float = 0.0) -> bool:
        """Remembers where a rectangle is at all times, unless it meets another one."""
        travelled = np.array([flow.travelled(t) for t in self.times])
        x, y, heading = self.road.locate(s + direction * travelled, d)
        yaw = heading + turn
        half = np.array(size) / 2 + 0.1
        signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        local = signs * half + [ahead, 0.0]
        c, sn = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
        corners = np.stack([x[:, None] + c * local[:, 0] - sn * local[:, 1],
                            y[:, None] + sn * local[:, 0] + c * local[:, 1]], axis=-1)
        centres = corners.mean(axis=1)
        if self._corners:
            gaps = np.abs(np.stack(self._centres) - centres).max(axis=2)
            for other in np.flatnonzero((gaps < 16.0).any(axis=1)):
                if _ever_overlap(corners, self._corners[other]):
                    return False
        self._corners.append(corners)
        self._centres.append(centres)
        return True


class _Deck:
    """Deals kinds like shuffled cards, so that none is missing for long."""

    def __init__(self, cards: list[str], rng: np.random.Generator) -> None:
        self._cards, self._rng, self._left = cards, rng, []

    def draw(self) -> str:
        if not self._left:
            self._left = [self._cards[i] for i in self._rng.permutation(len(self._cards))]
        return self._left.pop()


def _ever_overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two moving rectangles [T, 4, 2] overlap at any time (separating axes)."""
    overlap = np.ones(len(a), bool)
    for box in (a, b):
        for k in (0, 1):
            axis = box[:, k + 1] - box[:, k]
            pa = np.einsum("tij,tj->ti", a, axis)
            pb = np.einsum("tij,tj->ti", b, axis)
            overlap &= (pa.max(1) > pb.min(1)) & (pb.max(1) > pa.min(1))
    return bool(overlap.any())
