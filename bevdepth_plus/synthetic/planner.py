"""Who is on the road and where: nothing ever overlaps anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bevdepth_plus.synthetic.mesh import NOTHING, Mesh
from bevdepth_plus.synthetic.road import BIKE_LANE_WIDTH, LANE_WIDTH, STILL, Flow, Road
from bevdepth_plus.synthetic.taxonomy import CLASS_SIZE, RIDER_HEIGHT, attribute_of

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
        active: with a rider (cycles) or walking (pedestrians).
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
    active: bool
    mesh: Mesh

    def pose(self, road: Road, t: float) -> tuple[float, float, float]:
        """Global x, y and yaw at time t (s)."""
        x, y, heading = road.locate(self.s + self.direction * self.flow.travelled(t), self.d)
        return float(x), float(y), float(heading) + self.turn

    def attribute(self, t: float) -> str:
        """The nuScenes attribute at time t."""
        return attribute_of(self.class_name, self.flow.speed(t), self.parked, self.active)


class Planner:
    """Fills a road with objects so that nothing ever overlaps anything."""

    def __init__(
        self, road: Road, ego_d: float, ego_flow: Flow, duration: float, rng: np.random.Generator
    ) -> None:
        self.road, self.ego_d, self.ego_flow = road, ego_d, ego_flow
        self.duration, self.rng = duration, rng
        self.times = np.arange(0.0, duration + 0.26, 0.25)
        self.objects: list[SceneObject] = []
        self._corners: list[np.ndarray] = []  # [T, 4, 2] of everything placed
        self._centres: list[np.ndarray] = []  # [T, 2]
        self._radii: list[float] = []  # of the circle around each
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
            flow = Flow(
                mean,
                rng.choice([0.3, 0.6, 1.0]) * mean,
                rng.uniform(0.2, 0.5),
                rng.uniform(0, 2 * np.pi),
            )
        reach = flow.travelled(self.duration)
        first, last = (low - reach, high) if direction > 0 else (low, high + reach)
        s = first + rng.uniform(0, 15)
        deck = _Deck(
            ["car"] * 4 + ["truck", "bus", "motorcycle", "rig", "construction_vehicle"], rng
        )
        while s < last:
            kind = deck.draw()
            aside = rng.uniform(-0.2, 0.2)
            if kind == "rig":  # a truck with its trailer behind
                truck = self._place("truck", s, d, direction, flow)
                if truck is not None:
                    size = self._size("trailer")
                    gap = truck.size[0] / 2 + size[0] / 2 + 0.5
                    self._place("trailer", s - direction * gap, d, direction, flow, size=size)
                s += 12.0
            else:
                self._place(
                    kind,
                    s,
                    d + (aside if kind in ("car", "motorcycle") else 0.0),
                    direction,
                    flow,
                    active=True,
                )
            s += rng.uniform(17.0, 36.0)

    def _cyclists(self, side: int, low: float, high: float) -> None:
        rng = self.rng
        d, direction = side * (self.road.lanes_end + BIKE_LANE_WIDTH / 2), -side
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
        d, direction = side * (self.road.parking_start + 1.55), -side
        deck = _Deck(
            ["car"] * 4
            + ["gap"] * 5
            + ["site"] * 2
            + ["truck", "trailer", "bus", "cones", "barriers"],
            rng,
        )
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
                self._place(
                    kind,
                    s + size[0] / 2,
                    d + rng.uniform(-0.1, 0.1),
                    direction,
                    size=size,
                    turn=rng.normal(0, 0.015),
                )
                s += size[0] + rng.uniform(0.9, 2.2)
            s += 0.6

    def _site(self, s: float, d: float, side: int) -> float:
        """A construction site in the parking lane; returns where it ends."""
        rng, direction = self.rng, -side
        self._place("barrier", s + 0.4, d, direction, turn=rng.choice([0.0, np.pi]))
        for step in (2.2, 8.8):
            self._place("traffic_cone", s + step, d - side * 1.75, direction)
        if rng.random() < 0.6:
            self._place(
                "pedestrian",
                s + 1.9,
                d + rng.uniform(-0.5, 0.8),
                direction,
                turn=rng.uniform(-np.pi, np.pi),
            )
        self._place(
            "construction_vehicle",
            s + 6.4,
            d,
            direction,
            turn=rng.choice([0.0, np.pi]) + rng.normal(0, 0.02),
        )
        self._place("barrier", s + 10.6, d, direction, turn=rng.choice([0.0, np.pi]))
        return s + 12.0

    def _sidewalk(self, side: int, low: float, high: float) -> None:
        rng, kerb = self.rng, self.road.kerb
        for offset, direction in ((1.0, 1), (2.0, -1)):
            flow = Flow(rng.uniform(0.9, 1.6))
            s = low + rng.uniform(0, 25)
            while s < high:
                self._place(
                    "pedestrian",
                    s,
                    side * (kerb + offset + rng.uniform(-0.12, 0.12)),
                    direction,
                    flow,
                    active=True,
                )
                s += rng.choice([1.2, rng.uniform(25, 80)], p=[0.2, 0.8])
        s = low + rng.uniform(0, 15)
        deck = _Deck(["bicycle", "pedestrian", "motorcycle", "pedestrian", "traffic_cone"], rng)
        while s < high:
            kind = deck.draw()
            turn = rng.uniform(-np.pi, np.pi) if kind == "pedestrian" else rng.normal(0, 0.1)
            self._place(
                kind,
                s,
                side * (kerb + 3.2 + rng.uniform(-0.1, 0.3)),
                int(rng.choice([-1, 1])),
                turn=turn,
            )
            s += rng.uniform(12.0, 30.0)

    def _size(self, class_name: str, rider: bool = False) -> tuple[float, float, float]:
        base = np.array(CLASS_SIZE[class_name])
        if rider:
            base[2] = RIDER_HEIGHT[class_name]
        size = base * np.clip(1 + 0.05 * self.rng.normal(size=3), 0.88, 1.12)
        if class_name in ("trailer", "bus", "truck", "construction_vehicle"):
            size[1] = min(size[1], 2.95)  # keeps within its lane
        return tuple(float(round(v, 3)) for v in size)

    def _place(
        self,
        class_name: str,
        s: float,
        d: float,
        direction: int,
        flow: Flow = STILL,
        turn: float = 0.0,
        active: bool = False,
        size: tuple[float, float, float] | None = None,
    ) -> SceneObject | None:
        """Adds an object unless it would ever touch another one; returns it if it was added."""
        size = size or self._size(class_name, active and class_name in RIDER_HEIGHT)
        turn = float(turn) + (np.pi if direction < 0 else 0.0)
        if not self._add_footprint(s, d, turn, direction, flow, size[:2]):
            return None
        item = SceneObject(
            class_name,
            size,
            float(s),
            float(d),
            turn,
            direction,
            flow,
            flow is STILL,
            active,
            NOTHING,
        )
        self.objects.append(item)
        return item

    def _add_footprint(
        self,
        s: float,
        d: float,
        turn: float,
        direction: int,
        flow: Flow,
        size: tuple[float, float],
        ahead: float = 0.0,
    ) -> bool:
        """Remembers where a rectangle is at all times, unless it meets another one."""
        travelled = np.array([flow.travelled(t) for t in self.times])
        x, y, heading = self.road.locate(s + direction * travelled, d)
        yaw = heading + turn
        half = np.array(size) / 2 + 0.1
        signs = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
        local = signs * half + [ahead, 0.0]
        c, sn = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
        corners = np.stack(
            [
                x[:, None] + c * local[:, 0] - sn * local[:, 1],
                y[:, None] + sn * local[:, 0] + c * local[:, 1],
            ],
            axis=-1,
        )
        centres = corners.mean(axis=1)
        if self._corners:
            gaps = np.linalg.norm(np.stack(self._centres) - centres, axis=2)
            close = gaps < (np.array(self._radii) + np.linalg.norm(half))[:, None]
            for other in np.flatnonzero(close.any(axis=1)):
                when = close[other]
                if _ever_overlap(corners[when], self._corners[other][when]):
                    return False
        self._corners.append(corners)
        self._centres.append(centres)
        self._radii.append(float(np.linalg.norm(half)))
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
