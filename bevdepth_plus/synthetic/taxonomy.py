"""nuScenes' fixed tables: categories, attributes, visibility; and typical box sizes."""

from __future__ import annotations

CATEGORIES: tuple[str, ...] = (
    "human.pedestrian.adult",
    "human.pedestrian.child",
    "human.pedestrian.wheelchair",
    "human.pedestrian.stroller",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.police_officer",
    "human.pedestrian.construction_worker",
    "animal",
    "vehicle.car",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "vehicle.bus.bendy",
    "vehicle.bus.rigid",
    "vehicle.truck",
    "vehicle.construction",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
    "vehicle.trailer",
    "movable_object.barrier",
    "movable_object.trafficcone",
    "movable_object.pushable_pullable",
    "movable_object.debris",
    "static_object.bicycle_rack",
)

ATTRIBUTES: tuple[str, ...] = (
    "vehicle.moving",
    "vehicle.stopped",
    "vehicle.parked",
    "cycle.with_rider",
    "cycle.without_rider",
    "pedestrian.sitting_lying_down",
    "pedestrian.standing",
    "pedestrian.moving",
)

# token, level, upper end of the visible share
VISIBILITY: tuple[tuple[str, str, float], ...] = (
    ("1", "v0-40", 0.4),
    ("2", "v40-60", 0.6),
    ("3", "v60-80", 0.8),
    ("4", "v80-100", 1.01),
)

# The category each detection class is written as, and the (length, width, height) in metres
# around which boxes are drawn: rounded nuScenes class means.
CLASS_CATEGORY: dict[str, str] = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "trailer": "vehicle.trailer",
    "bus": "vehicle.bus.rigid",
    "construction_vehicle": "vehicle.construction",
    "bicycle": "vehicle.bicycle",
    "motorcycle": "vehicle.motorcycle",
    "pedestrian": "human.pedestrian.adult",
    "traffic_cone": "movable_object.trafficcone",
    "barrier": "movable_object.barrier",
}
CLASS_SIZE: dict[str, tuple[float, float, float]] = {
    "car": (4.62, 1.95, 1.73),
    "truck": (6.93, 2.51, 2.84),
    "trailer": (12.28, 2.90, 3.87),
    "bus": (11.2, 2.90, 3.47),
    "construction_vehicle": (6.37, 2.80, 3.19),
    "bicycle": (1.70, 0.60, 1.30),
    "motorcycle": (2.11, 0.77, 1.47),
    "pedestrian": (0.73, 0.67, 1.77),
    "traffic_cone": (0.41, 0.41, 1.07),
    "barrier": (0.50, 2.53, 0.98),
}
# Metres from the ego vehicle within which the detection challenge scores a class.
DETECTION_RANGE: dict[str, float] = {
    **dict.fromkeys(["car", "truck", "trailer", "bus", "construction_vehicle"], 50.0),
    **dict.fromkeys(["bicycle", "motorcycle", "pedestrian"], 40.0),
    **dict.fromkeys(["traffic_cone", "barrier"], 30.0),
}
RIDER_HEIGHT: dict[str, float] = {"bicycle": 1.78, "motorcycle": 1.66}

MOVING_SPEED = 0.2  # m/s; slower counts as standing


def attribute_of(class_name: str, speed: float, parked: bool, active: bool) -> str:
    """The attribute that agrees with what an object does now; '' where the class has none.

    Args:
        class_name: one of the ten detection classes.
        speed: m/s at this moment.
        parked: the object never moves.
        active: for cycles, whether somebody sits on it.
    """
    if class_name in ("traffic_cone", "barrier"):
        return ""
    if class_name in ("bicycle", "motorcycle"):
        return "cycle.with_rider" if active else "cycle.without_rider"
    moving = speed > MOVING_SPEED
    if class_name == "pedestrian":
        return "pedestrian.moving" if moving else "pedestrian.standing"
    if moving:
        return "vehicle.moving"
    return "vehicle.parked" if parked else "vehicle.stopped"
