from __future__ import annotations

import pickle

import numpy as np
import yaml


def test_a_sound_data_set_passes_and_is_drawn(tiny_config, run_tool, tmp_path):
    infos = tiny_config.with_name("bevdepth_plus_infos_train.pkl")
    done = run_tool("check_calibration.py", infos, "--every", 3, "--overlays", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[0] == "looked at samples: 1, problems: 0"
    assert done.stdout.splitlines()[1].startswith("CAM_FRONT: horizon at row ")
    assert len(list(tmp_path.glob("*.png"))) == 1


def test_a_mirrored_camera_is_named_before_drawing_refuses_it(tiny_config, run_tool, tmp_path):
    infos = tiny_config.with_name("bevdepth_plus_infos_train.pkl")
    content = pickle.loads(infos.read_bytes())
    camera = content["data_list"][0]["images"]["CAM_BACK"]
    camera["lidar2cam"] = (np.diag([-1.0, 1, 1, 1]) @ camera["lidar2cam"]).tolist()
    spoilt = tiny_config.with_name("spoilt.pkl")
    spoilt.write_bytes(pickle.dumps(content))
    done = run_tool("check_calibration.py", spoilt, "--overlays", tmp_path)
    assert "CAM_BACK: lidar2cam mirrors (det R = -1.000)" in done.stdout
    assert done.returncode == 2
    assert done.stderr.startswith("check_calibration.py: ") and "CAM_BACK.lidar2cam" in done.stderr


def write_rig(path, **changes):
    front = {"name": "CAM_FRONT", "width": 1600, "height": 900, "fx": 1266, "position": [1.7, 0, 1]}
    path.write_text(yaml.safe_dump({"cameras": [{**front, **changes}]}))
    return path


def test_a_sound_rig_file_passes_and_is_drawn(run_tool, tmp_path):
    rig = write_rig(tmp_path / "rig.yaml")
    done = run_tool("check_calibration.py", rig, "--picture", tmp_path / "rig.png")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[:2] == [
        "cameras: 1, problems: 0",
        "CAM_FRONT: field of view 65 degrees, sees from -20 to 20 degrees of elevation",
    ]
    assert (tmp_path / "rig.png").stat().st_size > 10_000


def test_all_mistakes_of_a_rig_file_are_named_in_a_line_each(run_tool, tmp_path):
    mirrored = [[0, 0, 1, 1], [1, 0, 0, 0], [0, -1, 0, 1]]
    rig = write_rig(tmp_path / "rig.yaml", width=900, height=1600, cx=800, cy=450)
    content = yaml.safe_load(rig.read_text())
    other = {"name": "OTHER", "width": 1600, "height": 900, "fx": 4.0, "ego_T_cam": mirrored}
    rig.write_text(yaml.safe_dump({"cameras": [*content["cameras"], other]}))
    done = run_tool("check_calibration.py", rig)
    assert done.returncode == 1
    found = done.stdout.splitlines()
    assert found[0].startswith("CAM_FRONT: cx, cy (800, 450)") and "swapped" in found[0]
    assert found[1].startswith("OTHER: fx 4.0 means a field of view of 179 degrees")
    assert found[2].startswith("OTHER: ego_T_cam mirrors (det = -1.000, must be 1)")
    assert found[3] == "cameras: 2, problems: 3"


def test_a_rig_file_that_cannot_be_read_ends_in_one_line(run_tool, tmp_path):
    done = run_tool("check_calibration.py", write_rig(tmp_path / "rig.yaml", fx="long"))
    assert done.returncode == 2
    assert done.stderr.startswith("check_calibration.py: ") and "cameras[0].fx" in done.stderr
    assert len(done.stderr.splitlines()) == 1
