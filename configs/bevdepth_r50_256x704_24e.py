_base_ = [
    "_base_/bevdepth_r50.py",
    "_base_/nuscenes.py",
    "_base_/schedule_24e.py",
    "_base_/default_runtime.py",
]
