"""Each camera of a nuScenes-format root over time."""

from __future__ import annotations

import pickle
import shutil
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from bevdepth_plus.datasets.create_infos import create_info_files
from bevdepth_plus.datasets.sequences import dataset as dataset_module
from bevdepth_plus.datasets.sequences.dataset import SequenceDataset
from bevdepth_plus.datasets.sequences.frames import DepthPicture, LidarSweep
from bevdepth_plus.datasets.sequences.layouts import read_source
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.pinhole import in_image, pixel_centres, project, unproject
from bevdepth_plus.geometry.rigid import invert_rigid, transform_points

SIZE = (90, 160)


@pytest.fixture(scope="module")
def ann_file(synthetic_root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("infos")
    return create_info_files(synthetic_root, "v1.0-mini", folder, progress=False)[0]


@pytest.fixture
def source(synthetic_root, ann_file) -> dict:
    """The LiDAR's depth: the pictures beside the images are not looked for."""
    return {
        "layout": "nuscenes",
        "root": str(synthetic_root),
        "ann_file": str(ann_file),
        "depth_folder": "no_pictures",
    }


def changed(ann_file: Path, folder: Path, change) -> str:
    """Another info file, with its samples changed."""
    content = pickle.loads(ann_file.read_bytes())
    change(content["data_list"])
    path = folder / "changed.pkl"
    path.write_bytes(pickle.dumps(content))
    return str(path)


def test_each_camera_of_a_scene_is_a_sequence_in_order(source):
    sequences = read_source(source)
    assert len(sequences) == 6
    for sequence in sequences:
        assert [frame.index for frame in sequence.frames] == [0, 1, 2]
        assert np.all(np.diff([frame.time for frame in sequence.frames]) > 0)
        assert all(isinstance(frame.depth, LidarSweep) for frame in sequence.frames)
        (camera,) = {Path(frame.image).parent.name for frame in sequence.frames}
        assert sequence.name.endswith(f"/{camera}")
    (front,) = read_source({**source, "cameras": ["CAM_FRONT"]})
    ahead = np.linalg.inv(front.frames[0].world_T_cam) @ front.frames[1].world_T_cam
    assert ahead[2, 3] > 1 and abs(ahead[0, 3]) < 1  # half a second of driving


def test_lidar_depth_is_the_same_wall_from_the_next_frame(source):
    dataset = SequenceDataset([{**source, "cameras": ["CAM_FRONT"]}], SIZE, num_views=2)
    sample, other = dataset[0], dataset[1]
    assert other["token"] == sample["source_tokens"][0]
    centres, known = pixel_centres(SIZE), sample["depth"] > 0
    assert known.sum() > 100
    points = unproject(centres[known], sample["depth"][known], sample["intrinsics"][0])
    moved = transform_points(invert_rigid(sample["anchor_T_source"][0]), points)
    pixels, depth = project(moved, sample["intrinsics"][1])
    inside = in_image(pixels, SIZE) & (depth > 0)
    column, row = pixels[inside].floor().long().unbind(-1)
    seen = other["depth"][row, column]
    both = seen > 0
    assert both.sum() > 30
    error = ((seen - depth[inside]).abs() / depth[inside])[both]
    assert error.median() < 0.05
    standing = (seen - sample["depth"][known][inside]).abs() / depth[inside]
    assert standing[both].median() > 2 * error.median()


def test_dense_pictures_beside_the_images_come_before_the_lidar(source, synthetic_root, tmp_path):
    root = tmp_path / "nuscenes"
    shutil.copytree(synthetic_root / "samples", root / "samples")
    source = {**source, "root": str(root), "cameras": ["CAM_BACK"]}
    del source["depth_folder"]  # the default
    image = Path(read_source(source)[0].frames[1].image)
    (root / "depth/CAM_BACK").mkdir(parents=True)
    picture = root / "depth/CAM_BACK" / f"{image.stem}.png"
    cv2.imwrite(str(picture), np.full((90, 160), 1234, np.uint16))
    kinds = [type(frame.depth) for frame in read_source(source)[0].frames]
    assert kinds == [LidarSweep, DepthPicture, LidarSweep]
    torch.testing.assert_close(SequenceDataset([source], SIZE)[1]["depth"], torch.full(SIZE, 12.34))
    cv2.imwrite(str(picture), np.full((45, 80), 1234, np.uint16))
    with pytest.raises(DataError, match=r"is \(45, 80\), its image \(90, 160\)"):
        list(SequenceDataset([source], SIZE))


def add_sweeps(infos: list[dict]) -> None:
    """Half-way between the key frames, the images of the key frame after."""
    for earlier, info in pairwise(infos):
        for name, camera in info["images"].items():
            before = earlier["images"][name]
            pose = np.array(camera["ego2global"])
            pose[:3, 3] = (pose[:3, 3] + np.array(before["ego2global"])[:3, 3]) / 2
            camera["sweeps"] = [
                {
                    "img_path": f"samples/{name}/{camera['img_path']}",
                    "timestamp": (camera["timestamp"] + before["timestamp"]) / 2,
                    "ego2global": pose.tolist(),
                }
            ]


def test_sweeps_stand_between_the_key_frames_and_have_no_lidar(source, ann_file, tmp_path):
    source = {**source, "ann_file": changed(ann_file, tmp_path, add_sweeps)}
    for sequence in read_source(source):
        assert [frame.depth is not None for frame in sequence.frames] == [1, 0, 1, 0, 1]
        assert np.all(np.diff([frame.time for frame in sequence.frames]) > 0.1)
        places = np.array([frame.world_T_cam[:2, 3] for frame in sequence.frames])
        np.testing.assert_allclose(places[1], (places[0] + places[2]) / 2, atol=0.2)
    dataset = SequenceDataset([source], SIZE)
    assert len(dataset) == 6 * 3


def test_lost_poses_are_skipped_and_counted(source, ann_file, tmp_path, monkeypatch):
    def lose(infos: list[dict]) -> None:
        add_sweeps(infos)
        infos[0]["images"]["CAM_FRONT"]["ego2global"] = np.full((4, 4), np.nan).tolist()
        infos[1]["images"]["CAM_FRONT"]["sweeps"][0]["ego2global"] = np.zeros((4, 4)).tolist()
        del infos[1]["images"]["CAM_BACK"]["sweeps"][0]["ego2global"]
        infos[2]["ego2global"] = np.full((4, 4), -np.inf).tolist()

    messages: list[str] = []
    monkeypatch.setattr(dataset_module, "print_log", lambda text, **_: messages.append(text))
    source = {**source, "ann_file": changed(ann_file, tmp_path, lose)}
    found = {s.name.split("/")[-1]: s for s in read_source(source)}
    indices = {name: [frame.index for frame in s.frames] for name, s in found.items()}
    # Oldest first: key image, sweep, key image, sweep, key image.
    assert indices["CAM_FRONT"] == [2, 3] and len(found["CAM_FRONT"].lost) == 3
    assert indices["CAM_BACK"] == [0, 2, 3] and len(found["CAM_BACK"].lost) == 2
    assert indices["CAM_FRONT_LEFT"] == [0, 1, 2, 3] and len(found["CAM_FRONT_LEFT"].lost) == 1
    SequenceDataset([source], SIZE)
    assert f"9 of 30 poses are lost, first {found['CAM_FRONT'].lost[0]}" in messages[0]
    assert "1 sequences have no anchor, first" in messages[0]


def test_what_the_info_file_lacks_is_named(source):
    with pytest.raises(DataError, match="has no camera CAM_TOP; it has CAM_FRONT"):
        read_source({**source, "cameras": ["CAM_TOP"]})
    with pytest.raises(DataError, match=r"info file .* does not exist"):
        read_source({**source, "ann_file": "none.pkl"})
    with pytest.raises(DataError, match=r"missing a required argument: 'ann_file'"):
        read_source({"layout": "nuscenes", "root": source["root"]})


def test_without_a_chain_each_sample_is_alone(source, ann_file, tmp_path):
    def cut(infos: list[dict]) -> None:
        for info in infos:
            info["prev"] = None

    source = {**source, "ann_file": changed(ann_file, tmp_path, cut)}
    with pytest.raises(DataError, match="no sequence has 3 views 1 frames apart"):
        SequenceDataset([source], SIZE)
