"""A Rerun recording read back; skipped where rerun-sdk is not installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bevdepth_plus.deploy.recordings import RerunRecorder
from bevdepth_plus.deploy.recordings.outlines import outlines_in_image

pytest.importorskip("rerun")


def read(path) -> dict[tuple[str, str], list[Any]]:
    """(entity, component) -> values of each time; components without their archetype's name."""
    try:
        from rerun.chunk import RrdReader
    except ImportError:
        return _read_dataframe(path)
    found: dict[tuple[str, str], list[Any]] = {}
    for chunk in RrdReader(str(path)).stream():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            if name == "time":
                times = batch.column(name).cast("int64").to_pylist()
                found.setdefault((chunk.entity_path, "time"), []).extend(times)
            if ":" not in name:
                continue
            key = (chunk.entity_path, name.rpartition(":")[2])
            found.setdefault(key, []).extend(batch.column(name).to_pylist())
    return found


_OLD_NAMES = {
    "PoseTranslation3D": "centers",
    "HalfSize3D": "half_sizes",
    "Text": "labels",
    "Blob": "blob",
    "Translation3D": "translation",
    "LineStrip2D": "strips",
    "Position3D": "positions",
    "PinholeProjection": "image_from_camera",
}


def _read_dataframe(path) -> dict[tuple[str, str], list[Any]]:
    """As rerun-sdk below 0.30 reads it."""
    import rerun

    recording = rerun.dataframe.load_recording(str(path))
    table = recording.view(index="time", contents="/**").select().read_all()
    found = {("/world/ego/boxes", "time"): table["time"].cast("int64").to_pylist()}
    for name in table.column_names:
        if ":" not in name:
            continue
        entity, _, component = name.rpartition(":")
        values = [value for value in table[name].to_pylist() if value is not None]
        found[entity, _OLD_NAMES.get(component, component)] = values
    return found


@pytest.fixture
def content(tmp_path, rig, result, images):
    path = tmp_path / "drive.rrd"
    with RerunRecorder().open(path, rig, result.boxes.classes) as recorder:
        recorder.write(result, images, np.array([[1.0, 2.0, 3.0, 9.0]]))
    return read(path)


def test_boxes_come_back(content, boxes):
    [centres], [halves] = (
        content["/world/ego/boxes", "centers"],
        content["/world/ego/boxes", "half_sizes"],
    )
    np.testing.assert_allclose(centres, boxes.centres, atol=1e-6)
    np.testing.assert_allclose(halves, boxes.sizes / 2, atol=1e-6)
    [labels] = content["/world/ego/boxes", "labels"]
    assert labels == ["car 0.90", "pedestrian 0.60", "traffic_cone 0.30"]
    assert content["/world/ego/boxes", "time"] == [1532402927500000000]


def test_images_are_stored_as_they_came(content, images):
    [[data]] = content["/world/ego/FRONT/image", "blob"]
    assert bytes(data) == images["FRONT"]


def test_poses_points_and_lines_come_back(content, rig, boxes, world_T_ego):
    [[move]] = content["/world/ego", "translation"]
    np.testing.assert_allclose(move, world_T_ego[:3, 3], rtol=1e-6)
    [[point]] = content["/world/ego/points", "positions"]
    assert point == [1.0, 2.0, 3.0]
    [strips] = content["/world/ego/FRONT/boxes", "strips"]
    lines = np.concatenate(outlines_in_image(boxes, rig["FRONT"]))
    np.testing.assert_allclose(strips, lines, atol=1e-3)
    [[matrix]] = content["/world/ego/FRONT", "image_from_camera"]
    np.testing.assert_allclose(np.reshape(matrix, (3, 3)).T, rig["FRONT"].intrinsics)
