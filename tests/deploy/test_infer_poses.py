"""Ego poses from files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bevdepth_plus.deploy.sources.drives import Drive, Moment
from bevdepth_plus.deploy.sources.pose_files import read_poses
from bevdepth_plus.deploy.streaming import ImageMessage
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.poses import pose_matrix, rotation_from_angles

POSE = pose_matrix(rotation_from_angles(90.0, 0, 0), (4.0, 5.0, 6.0))
HALF = np.sqrt(0.5)
ROW = ",".join(f"{value:.12g}" for value in POSE[:3].ravel())
FILES = {
    "quaternion.csv": f"stamp,x,y,z,qw,qx,qy,qz\n2.5,4,5,6,{HALF},0,0,{HALF}\n",
    "other_order.csv": f"qx, qy, qz, qw, x, y, z, stamp\n0,0,{HALF},{HALF},4,5,6,2.5\n",
    "rows.csv": f"# from my SLAM\n2.5,{ROW}\n",
    "matrix.csv": f"stamp{',m' * 16}\n2.5,{ROW},0,0,0,1\n",
    "matrix.json": json.dumps([{"stamp": 2.5, "world_T_ego": POSE.tolist()}]),
    "ego_pose.json": json.dumps(
        [{"token": "a", "timestamp": 2500000, "translation": [4, 5, 6],
          "rotation": [HALF, 0, 0, HALF]}]
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_form_gives_the_same_pose(tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    (pose,) = read_poses(tmp_path / name)
    assert pose.stamp == 2.5
    np.testing.assert_allclose(pose.world_T_ego, POSE, atol=1e-9)


def test_poses_come_in_the_order_of_time(tmp_path):
    path = tmp_path / "poses.csv"
    path.write_text("".join(f"{stamp},{ROW}\n" for stamp in (3, 1, 2)))
    assert [pose.stamp for pose in read_poses(path)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "no pose in it; expected a first line with the columns stamp,x,y,z"),
        ("a.csv", "stamp,x,y,z,qx,qy,qz\n", "the first line lacks qw"),
        ("a.csv", f"1.0,{ROW}\n2.0,1,0,0\n", r"line 2: 4 columns, not 13 or 17"),
        ("a.csv", f"1.0,{ROW.replace(',4,', ',nan,')}\n", "line 1: 'nan' is no finite number"),
        ("a.csv", "stamp,x,y,z,qw,qx,qy,qz\n1,0,0,0,1,1,0,0\n", "line 2: .* length 1.414, not 1"),
        ("a.csv", "1" + ",1" * 12 + "\n", "line 1 is no rigid transform"),
        ("a.json", "{}", "expected a list of poses"),
        ("a.json", "[", "not valid JSON"),
        ("a.json", '[{"stamp": 1, "translation": [0, 0, 0]}]', r"\[0\].rotation: expected 4"),
        ("a.json", '[{"translation": [0, 0, 0]}]', r"\[0\].stamp: expected a finite number"),
    ],
)
def test_a_wrong_file_names_its_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_poses(tmp_path / name)


def test_poses_of_another_clock_are_refused(tmp_path):
    (tmp_path / "poses.csv").write_text(f"1532402927.5,{ROW}\n")
    moment = Moment((ImageMessage("A", 0.0, "a.jpg"),))
    with pytest.raises(DataError, match=r"1532402927.500 to .* first images of 0.000 s: they need"):
        Drive(None, [moment], 1, 0.1).with_poses(read_poses(tmp_path / "poses.csv"))
    with pytest.raises(DataError, match="nothing.csv: cannot read the poses"):
        read_poses(tmp_path / "nothing.csv")
