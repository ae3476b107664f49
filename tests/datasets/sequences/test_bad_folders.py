"""Folders as they come: incomplete, of another layout, with poses lost and units mistaken."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from bevdepth_plus.datasets.sequences import dataset as dataset_module
from bevdepth_plus.datasets.sequences.dataset import SequenceDataset
from bevdepth_plus.datasets.sequences.layouts import LAYOUTS, read_source
from bevdepth_plus.errors import DataError

SIZE = (48, 64)


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What data sets log at start."""
    messages: list[str] = []
    monkeypatch.setattr(dataset_module, "print_log", lambda message, **_: messages.append(message))
    return messages


def scene_of(source: dict) -> Path:
    (folder,) = Path(source["root"]).iterdir()
    return folder


def tokens(dataset: SequenceDataset) -> list[str]:
    return [sample["token"].split("/")[-1] for sample in dataset]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_of_another_layout_is_named_with_the_layouts_known(layout, write):
    other = "tum" if layout != "tum" else "scannet"
    source = write(other)
    folder = scene_of(source)
    for root in (folder, folder.parent):
        message = f"is no {layout} sequence: looked for .*, lacking"
        with pytest.raises(DataError, match=message) as error:
            read_source({"layout": layout, "root": str(root)})
        assert "Known layouts: scannet (color, depth, pose, intrinsic); sun3d" in str(error.value)
    with pytest.raises(DataError, match=f"it looks like .*{other}"):
        read_source({"layout": layout, "root": str(folder)})


def test_an_incomplete_scene_among_whole_ones_is_not_left_out_silently(write, wall, tmp_path):
    source = write("scannet")
    (Path(source["root"]) / "scene0001_00/color").mkdir(parents=True)
    with pytest.raises(DataError, match=r"scene0001_00 is no scannet .* lacking depth, pose"):
        read_source(source)
    whole = read_source({**source, "sequences": ["scene0000_00"]})
    assert [sequence.name for sequence in whole] == ["scene0000_00"]


def test_sources_that_no_reader_takes_are_named(write, tmp_path):
    with pytest.raises(DataError, match=r"layout \(one of scannet, .*, nuscenes\) and root"):
        read_source({"layout": "kitti", "root": str(tmp_path)})
    with pytest.raises(DataError, match=r"does not exist; correct the source's root"):
        read_source({"layout": "tum", "root": str(tmp_path / "nowhere")})
    with pytest.raises(DataError, match=r"'depth_unti'; its options are depth_unit"):
        read_source(write("scannet", depth_unti=1.0))
    with pytest.raises(DataError, match="sources is empty"):
        SequenceDataset([], SIZE)


def spoil_scannet(folder: Path) -> None:
    (folder / "pose/1.txt").write_text("-inf -inf -inf -inf\n" * 4)
    (folder / "pose/2.txt").write_text("nan nan nan nan\n" * 4)
    (folder / "pose/3.txt").write_text("0 0 0 0\n" * 4)
    (folder / "pose/4.txt").unlink()


def spoil_rows(path: Path) -> None:
    rows = path.read_text().splitlines()
    for number, word in ((1, "-inf"), (2, "nan"), (3, "0"), (4, "inf")):
        rows[3 * number : 3 * number + 3] = [" ".join([word] * 4)] * 3
    path.write_text("\n".join(rows))


def spoil_tum(folder: Path) -> None:
    path = folder / "groundtruth.txt"
    rows = [row for row in path.read_text().splitlines()[1:] if not row.endswith(" 0 0 0 0 0 0 1")]
    rows[1] = rows[1].split()[0] + " nan nan nan nan nan nan nan"
    rows[2] = rows[2].split()[0] + " 1 1 1 0 0 0 0"
    rows[3] = rows[3].split()[0] + " 1 1 1 inf 0 0 1"
    del rows[4]  # the neighbours are 30 ms away
    path.write_text("\n".join(rows))


SPOIL = {
    "scannet": spoil_scannet,
    "sun3d": lambda folder: spoil_rows(folder / "extrinsics/20130512130736.txt"),
    "prepared": lambda folder: spoil_rows(folder / "pose/20130512130736.txt"),
    "tum": spoil_tum,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_lost_poses_are_skipped_and_counted(layout, write, said):
    source = write(layout)
    SPOIL[layout](scene_of(source))
    (sequence,) = read_source(source)
    assert [frame.index for frame in sequence.frames] == [0, 5]
    assert len(sequence.lost) == 4
    dataset = SequenceDataset([source], SIZE, num_views=2, gap=5)
    assert len(dataset) == 2
    assert f"4 of 6 poses are lost, first {sequence.lost[0]}" in said[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_images_are_counted_and_not_bridged(layout, write, said):
    source = write(layout)
    images = [frame.image for frame in read_source(source)[0].frames]
    Path(images[2]).unlink()
    dataset = SequenceDataset([source], SIZE, num_views=3)
    (sequence,) = read_source(source)
    assert [frame.index for frame in sequence.frames] == [0, 1, 3, 4, 5]
    assert len(dataset) == 4  # only frame 1 is near enough to frame 0
    assert "1 frames are missing, first in" in said[0]
    for sample in dataset:
        assert len({sample["token"], *sample["source_tokens"]}) == 3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_frames_without_depth_are_sources_alone(layout, write, said):
    source = write(layout)
    for picture in sorted(scene_of(source).glob("depth/*.png")):
        if picture.name.startswith(("2", "0000003", "000002", "1305031102.077")):
            picture.unlink()
    if layout == "tum":
        path = scene_of(source) / "depth.txt"
        rows = path.read_text().splitlines()
        path.write_text("\n".join(rows[:2] + rows[3:]))
    dataset = SequenceDataset([source], SIZE)
    assert len(dataset) == 5
    assert "1 of 6 frames have no depth" in said[0]
    unused = [frame.token for frame in read_source(source)[0].frames if frame.depth is None]
    assert unused and unused[0] in {token for s in dataset for token in s["source_tokens"]}


def test_without_any_depth_there_is_nothing_to_train_on(write):
    source = write("tum")
    (scene_of(source) / "depth.txt").write_text("1.0 depth/1.png\n")
    with pytest.raises(DataError, match="no frame has depth, which an anchor needs"):
        SequenceDataset([source], SIZE)


def test_a_picture_that_is_listed_and_missing_is_named(write):
    source = write("tum")
    dataset = SequenceDataset([source], SIZE)
    sorted(scene_of(source).glob("depth/*.png"))[3].unlink()
    with pytest.raises(DataError, match=r"depth picture .*\.png does not exist"):
        dataset[3]


def test_a_sequence_shorter_than_needed_is_named(write):
    with pytest.raises(ValueError, match="2 or more, got 1: one view has no motion"):
        SequenceDataset([write("scannet")], SIZE, num_views=1)
    with pytest.raises(DataError, match=r"no sequence has 3 views 20 frames apart, .* 6 frames"):
        SequenceDataset([write("scannet")], SIZE, gap=20)


def test_one_short_sequence_among_others_is_counted(write, wall, said):
    source = write("scannet")
    short = Path(source["root"]) / "scene0001_00"
    for path in scene_of(source).rglob("*"):
        if path.is_file() and path.stem in ("0", "intrinsic_color", "intrinsic_depth"):
            copy = short / path.relative_to(Path(source["root"]) / "scene0000_00")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    assert len(SequenceDataset([source], SIZE)) == 6
    assert "1 sequences have no anchor, first scene0001_00" in said[0]


@pytest.mark.parametrize("layout", ["sun3d", "prepared", "tum"])
def test_depth_of_another_size_than_its_image_is_named(layout, write):
    source = write(layout)
    for path in scene_of(source).glob("depth/*.png"):
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[::2, ::2])
    message = r"is \(48, 64\), its image \(96, 128\) pixels high and wide"
    with pytest.raises(DataError, match=message):
        SequenceDataset([source], SIZE)


@pytest.mark.parametrize("kind", ["color", "depth"])
def test_pictures_of_another_size_than_their_intrinsics_are_named(kind, write):
    source = write("scannet")
    for path in scene_of(source).glob(f"{kind}/*.png"):
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        height, width = (4 * side // 9 for side in picture.shape[:2])
        cv2.imwrite(str(path), cv2.resize(picture, (width, height)))
    with pytest.raises(DataError, match="principal point at .*: they are of another size"):
        SequenceDataset([source], SIZE)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_millimetres_taken_for_metres_are_named_at_start(layout, write):
    with pytest.raises(DataError, match="are millimetres taken for metres.* depth_unit=0.001"):
        SequenceDataset([write(layout, depth_unit=1.0)], SIZE)
    with pytest.raises(DataError, match="is the unit too small"):
        SequenceDataset([write(layout, depth_unit=1e-6)], SIZE)


def test_turned_bits_that_are_not_said_are_named_and_plain_ones_said_turned(write):
    with pytest.raises(DataError, match=r"multiples of 8 alone: .* depth_rotated=True"):
        SequenceDataset([write("sun3d", depth_rotated=False)], SIZE)
    with pytest.raises(DataError, match="has plain values; set the source's depth_rotated=False"):
        SequenceDataset([write("prepared", depth_rotated=True)], SIZE)


def test_poses_read_with_the_wrong_step_are_named(write):
    path = scene_of(write("sun3d")) / "extrinsics/20130512130736.txt"
    rows = path.read_text().splitlines()
    source = {"layout": "sun3d", "root": str(path.parents[2])}
    path.write_text("\n".join(rows[:-1]))
    with pytest.raises(DataError, match=r"has 17 lines of poses, expected 18: three lines of"):
        read_source(source)
    path.write_text("\n".join(rows[1:] + rows[:1]))
    with pytest.raises(DataError, match=r"pose 1 .*poses must be camera to world"):
        read_source(source)


@pytest.mark.parametrize("layout", ["sun3d", "prepared"])
@pytest.mark.parametrize("gone", [2, 5])
def test_where_images_are_missing_the_number_says_which_pose_is_whose(layout, gone, write, wall):
    source = write(layout)
    Path(read_source(source)[0].frames[gone].image).unlink()
    (sequence,) = read_source(source)
    assert len(sequence.frames) == 5
    for frame in sequence.frames:
        np.testing.assert_allclose(frame.world_T_cam, wall.pose(frame.index), atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "file", "text", "message"),
    [
        ("scannet", "pose/2.txt", "1 0 0 0\n0 1 0 0\n", "must hold a 4x4 matrix"),
        ("scannet", "pose/2.txt", "", "is empty"),
        ("scannet", "pose/2.txt", "not a pose\n", "must hold numbers alone, got 'not a pose'"),
        ("scannet", "pose/2.txt", "1 0 0\n" * 4, "has 3 numbers, expected 4"),
        ("scannet", "intrinsic/intrinsic_depth.txt", "1 0 0\n0 1 0\n", "3x3 or 4x4 matrix"),
        ("prepared", "intrinsics.txt", "0 0 0\n" * 3, "is no pinhole matrix"),
        ("tum", "rgb.txt", "1.0\n", "must be a time and a file"),
        ("tum", "groundtruth.txt", "1 2 3 4\n", "has 4 numbers, expected 8"),
    ],
)
def test_a_damaged_file_is_named(layout, file, text, message, write):
    source = write(layout)
    (scene_of(source) / file).write_text(text)
    with pytest.raises(DataError, match=rf"{re.escape(file)}.* {message}"):
        read_source(source)


def test_a_pose_that_is_transposed_is_named(write, wall):
    source = write("scannet")
    np.savetxt(scene_of(source) / "pose/0.txt", wall.pose(0).T)
    with pytest.raises(DataError, match=r"pose/0\.txt the last row must be 0 0 0 1.*transposed"):
        read_source(source)


def test_two_files_of_one_frame_are_named(write):
    source = write("scannet")
    (scene_of(source) / "color/0002.png").write_bytes(b"")
    with pytest.raises(DataError, match="are one frame by their numbers"):
        read_source(source)


def test_the_order_is_always_the_same_and_steps_thin_it_out(write, caplog):
    source = write("scannet")
    with caplog.at_level(logging.WARNING):
        first = SequenceDataset([source], SIZE)
    assert tokens(first) == tokens(SequenceDataset([source], SIZE)) == list("012345")
    assert tokens(SequenceDataset([source], SIZE, anchor_step=4)) == ["0", "4"]
