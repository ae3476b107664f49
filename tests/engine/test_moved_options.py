from __future__ import annotations

from pathlib import Path

import pytest

from bevdepth_plus.engine.launch import load_config
from bevdepth_plus.engine.moved_options import refuse_moved
from bevdepth_plus.errors import DataError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_a_config_of_an_older_version_ends_in_one_line_with_the_new_places(tmp_path):
    old = tmp_path / "old.py"
    old.write_text(
        f'_base_ = ["{CONFIGS}/synthetic_small.py"]\n'
        "model = dict(bbox_head=dict(share_conv_channel=16), ground_cue=True)\n"
    )
    with pytest.raises(DataError) as error:
        load_config(str(old), str(tmp_path), None)
    message = str(error.value)
    assert "model.bbox_head is now model.heads.boxes" in message
    assert "model.ground_cue is now model.depth.ground_cue" in message
    assert "\n" not in message


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_todays_configs_have_no_moved_option(path):
    from mmengine.config import Config

    refuse_moved(Config.fromfile(path).model)


def test_models_of_another_kind_may_name_their_parts_as_they_like():
    refuse_moved(dict(type="SomebodysDetector", bbox_head=dict()))
