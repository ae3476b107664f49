"""The ten nuScenes detection classes, in the order of every label in this project.

The order is mmdet3d's (``NuScenesDataset.METAINFO``), not the task order of the public BEVDepth.
"""

from __future__ import annotations

CLASSES: tuple[str, ...] = (
    "car",
    "truck",
    "trailer",
    "bus",
    "construction_vehicle",
    "bicycle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "barrier",
)

# What the detection challenge counts as which class; a category that is not listed is not scored.
# Source: nuscenes-devkit, nuscenes.eval.detection.utils.category_to_detection_name (a test
# compares the two), repeated here so that reading an info file does not need the devkit.
CATEGORY_TO_CLASS: dict[str, str] = {
    "vehicle.car": "car",
    "vehicle.truck": "truck",
    "vehicle.trailer": "trailer",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.construction": "construction_vehicle",
    "vehicle.bicycle": "bicycle",
    "vehicle.motorcycle": "motorcycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
    "movable_object.barrier": "barrier",
}

# The attribute a submission names for a box whose motion says nothing ('' = the class has none).
# The values are those of mmdet3d's NuScenesMetric.DefaultAttribute.
DEFAULT_ATTRIBUTES: dict[str, str] = {
    "car": "vehicle.parked",
    "truck": "vehicle.parked",
    "trailer": "vehicle.parked",
    "bus": "vehicle.moving",
    "construction_vehicle": "vehicle.parked",
    "bicycle": "cycle.without_rider",
    "motorcycle": "cycle.without_rider",
    "pedestrian": "pedestrian.moving",
    "traffic_cone": "",
    "barrier": "",
}
