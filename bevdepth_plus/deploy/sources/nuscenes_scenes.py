"""A scene of a nuScenes-format data set, of its tables alone: no devkit, no info file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bevdepth_plus.deploy.sources.drives import Drive, Moment, only_cameras
from bevdepth_plus.deploy.streaming import ImageMessage, PoseMessage
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.nuscenes_calibration import rig_from_tables
from bevdepth_plus.rigs.nuscenes_tables import linked, table
from bevdepth_plus.rigs.poses import pose_matrix, rotation_from_quaternion
from bevdepth_plus.rigs.rig import Rig
from bevdepth_plus.rigs.yaml_fields import Fields

WINDOW = 0.25  # seconds: half of the time between key frames
MANY = 12  # names that an error lists


def drive_from_scene(
    root: str | Path, version: str, scene: str | None, cameras: list[str] | None = None
) -> Drive:
    """The key frames of a scene: images, calibration, and the ego pose at each shot.

    Args:
        root: of the data set, with ``samples`` and the version's folder.
        version: for example ``v1.0-mini``.
        scene: its name; None: the only one.
        cameras: only these; None: all.

    Raises:
        DataError: a table or the first images are missing, or there is no such scene.
    """
    root, folder = Path(root), Path(root) / version
    if not folder.is_dir():
        found = ", ".join(sorted(path.parent.name for path in root.glob("*/scene.json"))) or "none"
        raise DataError(f"{folder} does not exist; versions in {root}: {found} (--version)")
    record = _scene(folder, scene)
    rig = only_cameras(rig_from_tables(folder, record["name"]), cameras)
    try:
        samples = _samples(folder, record)
        images, poses = _images_and_poses(root, folder, _shots(folder, samples), rig)
    except KeyError as missing:
        raise DataError(f"{folder}: a record lacks {missing}; fetch the tables again") from None
    moments = [
        Moment(tuple(sorted(images[token], key=lambda image: image.stamp)), token)
        for token in samples
        if images[token]
    ]
    if not moments:
        raise DataError(f"{folder}: scene {record['name']} has no camera images")
    for image in moments[0].images:
        if not Path(str(image.image)).is_file():
            raise DataError(
                f"camera {image.camera}: {image.image} does not exist; is {root} the folder that "
                "holds samples/?"
            )
    return Drive(rig, moments, len(moments), WINDOW, poses)


def _scene(folder: Path, name: str | None) -> dict:
    scenes = {record["name"]: record for record in table(folder / "scene.json")}
    if name in scenes:
        return scenes[name]
    if name is None and len(scenes) == 1:
        return next(iter(scenes.values()))
    listed = ", ".join(sorted(scenes)[:MANY]) + (", ..." if len(scenes) > MANY else "")
    asked = "choose one with --scene" if name is None else f"no scene {name}"
    raise DataError(f"{folder}/scene.json: {asked}; it has {listed or 'none'}")


def _samples(folder: Path, scene: Mapping) -> list[str]:
    """The tokens of the scene's samples in the order of time."""
    records = [
        record
        for record in table(folder / "sample.json")
        if record.get("scene_token") == scene["token"]
    ]
    return [record["token"] for record in sorted(records, key=lambda record: record["timestamp"])]


def _shots(folder: Path, samples: list[str]) -> list[dict]:
    """The key frames' records of all sensors."""
    wanted = set(samples)
    return [
        record
        for record in table(folder / "sample_data.json")
        if record["is_key_frame"] and record["sample_token"] in wanted
    ]


def _images_and_poses(
    root: Path, folder: Path, shots: list[dict], rig: Rig
) -> tuple[dict[str, list[ImageMessage]], tuple[PoseMessage, ...]]:
    """Images by sample token, and the ego pose of every record, the LiDAR's as well."""
    sensors = {record["token"]: record for record in table(folder / "sensor.json")}
    path = folder / "calibrated_sensor.json"
    calibrated = {record["token"]: record for record in table(path)}
    wanted = {shot["ego_pose_token"] for shot in shots}
    pose_path = folder / "ego_pose.json"
    ego_poses = {r["token"]: r for r in table(pose_path) if r["token"] in wanted}
    images: dict[str, list[ImageMessage]] = {shot["sample_token"]: [] for shot in shots}
    poses: dict[float, PoseMessage] = {}
    for shot in shots:
        stamp = shot["timestamp"] / 1e6
        fields = Fields(pose_path, "record", linked(pose_path, ego_poses, shot, "ego_pose"))
        rotation = rotation_from_quaternion(*fields.quaternion("rotation"))
        poses[stamp] = PoseMessage(stamp, pose_matrix(rotation, fields.numbers("translation", 3)))
        record = linked(path, calibrated, shot, "calibrated_sensor")
        name = linked(folder / "sensor.json", sensors, record, "sensor")["channel"]
        if name in rig.names:
            images[shot["sample_token"]].append(
                ImageMessage(name, stamp, str(root / shot["filename"]))
            )
    return images, tuple(poses[stamp] for stamp in sorted(poses))
