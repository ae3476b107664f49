from __future__ import annotations

import subprocess
import sys

from nuscenes.eval.detection.constants import ATTRIBUTE_NAMES, DETECTION_NAMES
from nuscenes.eval.detection.utils import category_to_detection_name

from bevdepth_plus.classes import CATEGORY_TO_CLASS, CLASSES, DEFAULT_ATTRIBUTES

ALL_CATEGORIES = [
    *CATEGORY_TO_CLASS,
    "animal",
    "human.pedestrian.personal_mobility",
    "human.pedestrian.stroller",
    "human.pedestrian.wheelchair",
    "movable_object.debris",
    "movable_object.pushable_pullable",
    "static_object.bicycle_rack",
    "vehicle.emergency.ambulance",
    "vehicle.emergency.police",
]


def test_classes_are_those_of_the_detection_challenge():
    assert sorted(CLASSES) == sorted(DETECTION_NAMES)


def test_categories_map_to_classes_as_in_the_devkit():
    assert len(ALL_CATEGORIES) == 23  # all categories of nuScenes
    for category in ALL_CATEGORIES:
        assert CATEGORY_TO_CLASS.get(category) == category_to_detection_name(category)


def test_every_class_has_a_default_attribute_that_the_devkit_knows():
    assert set(DEFAULT_ATTRIBUTES) == set(CLASSES)
    assert set(DEFAULT_ATTRIBUTES.values()) <= {*ATTRIBUTE_NAMES, ""}


def test_class_names_and_info_files_need_no_mm_library():
    code = (
        "import sys; import bevdepth_plus.classes, bevdepth_plus.datasets.info_file, "
        "bevdepth_plus.datasets.sample_record; "
        "print([m for m in sys.modules if m.startswith('mm') and '.' not in m])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() in ("[]", "['mmap']")
