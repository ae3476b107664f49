"""A textured wall passes two cameras; the flow of it is known exactly."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bevdepth_plus.datasets.correspondence_checks import Reason
from bevdepth_plus.datasets.transforms import (
    ImageAugmentation,
    LoadMultiViewImages,
    LoadOpticalFlow,
    flow_files,
)
from bevdepth_plus.datasets.transforms.flow_files import FlowSettings, dense_flow, load_flow
from bevdepth_plus.datasets.transforms.pack import PackBEVInputs
from bevdepth_plus.errors import DataError

WIDTH, HEIGHT = 320, 192
FOCAL, DEPTH, BASELINE = 200.0, 10.0, 0.5
SHIFT = FOCAL * BASELINE / DEPTH  # pixels as loaded, to the left


def texture(seed: int) -> np.ndarray:
    """Blobs of about 5 pixels, wider than the images."""
    noise = np.random.default_rng(seed).normal(size=(HEIGHT, WIDTH + 40)).astype(np.float32)
    blobs = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return cv2.normalize(blobs, None, 20, 235, cv2.NORM_MINMAX).astype(np.uint8)


def images_of(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The older image, and the newer one, in which all lies SHIFT pixels to the left."""
    wall = cv2.cvtColor(texture(seed), cv2.COLOR_GRAY2BGR)
    step = int(SHIFT)
    return wall[:, :WIDTH].copy(), wall[:, step : WIDTH + step].copy()


def results_of(root: Path, pairs: list[tuple[np.ndarray, np.ndarray]]) -> dict:
    """Two moments of as many cameras as there are pairs, as the dataset gives them."""
    names, paths = [f"CAM_{n}" for n in range(len(pairs))], []
    for moment, stem in ((1, "key"), (0, "past")):
        for name, pair in zip(names, pairs, strict=True):
            path = root / "samples" / name / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pair[moment])
            paths.append(str(path))
    poses = np.tile(np.eye(4), (2, len(pairs), 1, 1))
    poses[1, :, 0, 3] = -BASELINE  # the past camera stood to the left
    intrinsics = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]])
    return {
        "img_path": paths,
        "cam_names": names,
        "intrinsics": np.tile(intrinsics, (2, len(pairs), 1, 1)),
        "ego_T_cam": poses,
        "image_aug": np.tile(np.eye(3), (2, len(pairs), 1, 1)),
        "frame_mask": np.array([True, True]),
        "camera_mask": np.ones((2, len(pairs)), dtype=bool),
    }


def loaded(root: Path, pairs: list, **augmentation) -> dict:
    results = LoadMultiViewImages()(results_of(root, pairs))
    return ImageAugmentation((HEIGHT, WIDTH), **{"training": False, **augmentation})(results)


def flow(results: dict, **options) -> dict:
    return LoadOpticalFlow(**{"stride": 4, **options})(results)


def reasons(results: dict, camera: int = 0) -> np.ndarray:
    return results["correspondence_reason"][0, camera]


@pytest.fixture(scope="module")
def wall(tmp_path_factory) -> dict:
    """Two cameras before a wall, not augmented, with its flow."""
    root = tmp_path_factory.mktemp("wall")
    return flow(loaded(root, [images_of(0), images_of(1)]))


def test_every_cell_of_the_past_finds_itself_in_the_key_frame(wall):
    assert wall["correspondence"].shape == (1, 2, 2, HEIGHT // 4, WIDTH // 4)
    assert wall["correspondence"].dtype == np.float32
    rows, columns = np.mgrid[: HEIGHT // 4, : WIDTH // 4] * 4 + 2.0
    for camera in range(2):
        kept = reasons(wall, camera) == Reason.KEPT
        assert kept[4:-4, 6:-4].mean() > 0.95
        error = wall["correspondence"][0, camera] - [columns - SHIFT, rows]
        assert np.abs(error[:, kept]).max() < 0.5 and np.abs(error[:, kept]).mean() < 0.05


def test_what_leaves_the_image_or_lies_at_its_border_is_left_out(wall):
    why = reasons(wall)
    assert (why[:, :2] == Reason.OUTSIDE).mean() > 0.9  # the first ten pixels
    assert (why[4:-4, 3:4] == Reason.BORDER).mean() > 0.9
    assert (why[:2, 8:] == Reason.BORDER).all() and (why[:, -2:] == Reason.BORDER).all()


@pytest.mark.parametrize("seed", range(4))
def test_image_augmentation_moves_flow_and_pixels_alike(tmp_path, seed):
    np.random.seed(seed)
    random = dict(training=True, scale=(0.7, 1.3), rot=(-20, 20), flip=True)
    results = flow(loaded(tmp_path, [images_of(0)], **random))
    kept = reasons(results) == Reason.KEPT
    assert kept.mean() > 0.15
    rows, columns = np.mgrid[: HEIGHT // 4, : WIDTH // 4] * 4 + 2.0
    there = results["correspondence"][0, 0]
    older, newer = (results["image_aug"][moment, 0] for moment in (1, 0))
    raw = np.linalg.inv(older) @ np.stack([columns, rows, np.ones_like(rows)]).reshape(3, -1)
    expected = newer[:2] @ (raw - np.array([[SHIFT], [0], [0]]))
    error = there - expected.reshape(2, *kept.shape)
    assert np.abs(error[:, kept]).mean() < 0.08 and np.abs(error[:, kept]).max() < 1.0
    # What the network sees at both ends is the same.
    grey = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(float) for image in results["img"]]
    ends = [(there[0], there[1]), (columns, rows)]  # newer, older
    shown = [
        cv2.remap(image, (u - 0.5).astype(np.float32), (v - 0.5).astype(np.float32), 1)[kept]
        for image, (u, v) in zip(grey, ends, strict=True)
    ]
    assert np.abs(shown[0] - shown[1]).mean() < 0.2 * shown[0].std()


def test_augmentations_share_one_file(tmp_path, monkeypatch):
    flow(loaded(tmp_path, [images_of(0)]))
    files = list((tmp_path / "optical_flow" / "CAM_0").iterdir())
    assert len(files) == 1 and files[0].name.startswith("key.")
    monkeypatch.setattr(flow_files, "dense_flow", None)  # would fail if it were called
    np.random.seed(0)
    flow(loaded(tmp_path, [images_of(0)], training=True))
    assert list((tmp_path / "optical_flow" / "CAM_0").iterdir()) == files


def test_images_outside_of_nuscenes_folders_have_their_flow_beside_them(tmp_path):
    results = loaded(tmp_path, [images_of(0)])
    moved = tmp_path / "drive" / "front"
    moved.parent.mkdir()
    (tmp_path / "samples" / "CAM_0").rename(moved)
    flow({**results, "img_path": [str(moved / Path(path).name) for path in results["img_path"]]})
    assert len(list((moved / "optical_flow").iterdir())) == 1
    assert not (tmp_path / "optical_flow").exists()


def test_other_images_or_settings_have_files_of_their_own(tmp_path):
    folder = tmp_path / "optical_flow" / "CAM_0"
    first = flow(loaded(tmp_path, [images_of(0)]))
    second = flow(loaded(tmp_path, [images_of(5)]))  # under the same names
    assert len(list(folder.iterdir())) == 2
    assert not np.array_equal(first["correspondence"], second["correspondence"])
    flow(loaded(tmp_path, [images_of(5)]), preset="fast")
    flow(loaded(tmp_path, [images_of(5)]), max_width=160)
    assert len(list(folder.iterdir())) == 4


def test_a_changed_image_of_the_same_size_in_bytes_is_not_taken_for_the_old_one(tmp_path):
    older, newer = images_of(0)
    paths = [str(tmp_path / f"{stem}.bmp") for stem in ("past", "key")]
    for image in (newer, np.roll(newer, 3, axis=1)):
        cv2.imwrite(paths[0], older), cv2.imwrite(paths[1], image)
        load_flow(*paths, str(tmp_path / "flow"), FlowSettings())
    assert len(list((tmp_path / "flow").iterdir())) == 2


def test_a_broken_file_is_made_anew_and_read_back_alike(tmp_path):
    first = flow(loaded(tmp_path, [images_of(0)]))
    (file,) = (tmp_path / "optical_flow" / "CAM_0").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    again = flow(loaded(tmp_path, [images_of(0)]))
    np.testing.assert_array_equal(again["correspondence"], first["correspondence"])
    assert file.read_bytes() == content


def test_the_number_of_threads_changes_nothing_and_is_left_as_it_was():
    older, newer = (cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in images_of(0))
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(3)
        first = dense_flow(older, newer)
        assert cv2.getNumThreads() == 3
        cv2.setNumThreads(1)
        np.testing.assert_array_equal(dense_flow(older, newer), first)
    finally:
        cv2.setNumThreads(before)


def test_files_hold_both_directions_in_pixels_of_the_image_as_loaded(tmp_path):
    results_of(tmp_path, [images_of(0)])
    paths = [str(tmp_path / f"samples/CAM_0/{stem}.png") for stem in ("past", "key")]
    both = load_flow(*paths, str(tmp_path / "flow"), FlowSettings(max_width=160))
    inner = (slice(3, -3), slice(5, -5))
    assert both.forward.shape == (2, HEIGHT // 8, WIDTH // 8)
    assert np.abs(both.forward[0][inner] + SHIFT).mean() < 0.2
    assert np.abs(both.backward[0][inner] - SHIFT).mean() < 0.2


def changed(change) -> list[tuple[np.ndarray, np.ndarray]]:
    """The wall with something changed in the middle of both images, ``change(image, left)``."""
    older, newer = images_of(0)
    change(older, 120)
    change(newer, 120 - int(SHIFT))
    return [(older, newer)]


def paint(image: np.ndarray, left: int) -> None:
    image[60:130, left : left + 90] = 128


def blur(image: np.ndarray, left: int) -> None:
    part = image[50:140, left - 10 : left + 100]
    soft = cv2.GaussianBlur(part.astype(np.float32), (0, 0), 7)
    part[:] = np.clip(128 + 3 * (soft - soft.mean()), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "reason", "off"),
    [
        (paint, Reason.TEXTURELESS, dict(min_contrast=0.0)),
        (blur, Reason.BLURRED, dict(min_sharpness=0.0)),
    ],
)
def test_plain_and_blurred_places_are_left_out_unless_switched_off(tmp_path, change, reason, off):
    results = loaded(tmp_path, changed(change))
    middle = (slice(20, 28), slice(35, 46))
    assert (reasons(flow(results))[middle] == reason).mean() > 0.9
    assert reasons(flow(results))[8:10, 20:60].max() == Reason.KEPT
    assert not (reasons(flow(results, **off)) == reason).any()


def test_a_place_that_turns_plain_in_the_newer_frame_is_left_out(tmp_path):
    older, newer = images_of(0)
    paint(newer, 110)
    why = reasons(flow(loaded(tmp_path, [(older, newer)]), static_only=False, max_depth=0))
    assert (why[20:28, 35:44] == Reason.TEXTURELESS).mean() > 0.9


def test_black_borders_of_the_augmentation_show_nothing(tmp_path):
    results = loaded(tmp_path, [images_of(0)], training=True, scale=(0.7, 0.7), rot=(0, 0))
    raw_top = (np.linalg.inv(results["image_aug"][1, 0]) @ [100.0, 2.0, 1.0])[1]
    assert raw_top < 0  # the network's image begins above the image as loaded
    assert (reasons(flow(results))[0] == Reason.OUTSIDE).all()


def with_a_mover() -> list[tuple[np.ndarray, np.ndarray]]:
    """A textured thing that goes down by 12 pixels while the wall goes to the left."""
    older, newer = images_of(0)
    thing = cv2.cvtColor(texture(9), cv2.COLOR_GRAY2BGR)[:80, :90]
    older[50:130, 120:210] = thing
    newer[62:142, 120:210] = thing
    return [(older, newer)]


def test_what_moves_by_itself_is_left_out_unless_asked_for(tmp_path):
    results = loaded(tmp_path, with_a_mover())
    thing = (slice(16, 29), slice(34, 48))
    assert (reasons(flow(results))[thing] == Reason.MOVING).mean() > 0.9
    all_that_moves = flow(results, static_only=False)
    assert (reasons(all_that_moves)[thing] == Reason.KEPT).mean() > 0.9
    step = all_that_moves["correspondence"][0, 0, 1][thing] - (np.arange(16, 29)[:, None] * 4 + 2)
    assert np.median(step) == pytest.approx(12, abs=0.3)


def test_what_the_mover_hides_is_inconsistent(tmp_path):
    why = reasons(flow(loaded(tmp_path, with_a_mover()), static_only=False))
    below = why[33:35, 36:46]  # hidden by the thing in the key frame
    assert (below == Reason.INCONSISTENT).mean() > 0.7


def test_what_is_far_by_its_parallax_is_left_out_unless_switched_off(tmp_path):
    results = loaded(tmp_path, [images_of(0)])
    inner = (slice(4, -4), slice(8, -4))
    assert (reasons(flow(results, max_depth=8.0))[inner] == Reason.FAR).mean() > 0.95
    assert (reasons(flow(results, max_depth=12.0))[inner] == Reason.KEPT).mean() > 0.95
    assert (reasons(flow(results, max_depth=0.0))[inner] == Reason.KEPT).mean() > 0.95


def test_a_first_frame_without_a_past_has_no_valid_correspondence(tmp_path):
    results = loaded(tmp_path, [images_of(0)])
    results["frame_mask"] = np.array([True, False])
    results = flow(results)
    assert (results["correspondence_reason"] == Reason.NO_PAST).all()
    assert np.isfinite(results["correspondence"]).all()
    assert not (tmp_path / "optical_flow").exists()


def test_one_frame_alone_is_one_clear_line(tmp_path):
    results = loaded(tmp_path, [images_of(0)])
    results["image_aug"] = results["image_aug"][:1]
    with pytest.raises(DataError, match="set num_frames of the data set to 2 or more, got 1"):
        flow(results)


def test_frames_of_unequal_size_are_one_clear_line(tmp_path):
    older, newer = images_of(0)
    results = loaded(tmp_path, [(older, newer[:, :-8])])
    with pytest.raises(
        DataError, match=r"past.png and .*key.png are \(192, 320\) and \(192, 312\)"
    ):
        flow(results)


def test_images_too_small_for_the_flow_are_one_clear_line(tmp_path):
    one_pixel = np.zeros((1, 1, 3), dtype=np.uint8)
    with pytest.raises(DataError, match="past.png is 1 x 1 pixels, 4 x 4 for the optical flow"):
        flow(loaded(tmp_path, [(one_pixel, one_pixel)]))


def test_a_folder_that_cannot_be_written_to_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    results = loaded(tmp_path, [images_of(0)])
    with pytest.raises(DataError, match="give LoadOpticalFlow a folder= that can be written to"):
        flow(results, folder=str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(stride=0), "stride must be 1 pixel or more, got 0"),
        (dict(preset="slow"), "preset must be one of ultrafast, fast, medium, got 'slow'"),
        (dict(max_width=40), "max_width must be 64 pixels or more, got 40"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LoadOpticalFlow(**{"stride": 4, **options})


def test_packing_hands_on_what_is_kept_by_cameras_that_work(wall):
    working = {**wall, "camera_mask": np.array([[True, True], [True, False]])}
    inputs = PackBEVInputs(meta_keys=())(
        {**working, "ann_info": {"gt_bboxes_3d": [], "gt_labels_3d": np.zeros(0, dtype=np.int64)}}
    )["inputs"]
    assert inputs["correspondence"].shape == (1, 2, 2, HEIGHT // 4, WIDTH // 4)
    valid = inputs["correspondence_valid"].numpy()
    np.testing.assert_array_equal(valid[0, 0], reasons(wall) == Reason.KEPT)
    assert not valid[0, 1].any()
