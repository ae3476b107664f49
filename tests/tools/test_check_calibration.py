from __future__ import annotations

import pickle

import numpy as np


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
