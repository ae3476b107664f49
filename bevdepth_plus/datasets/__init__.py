"""Data: class names, info files, the dataset and its transforms.

Importing this package registers nothing and pulls in no mm* library, so that tools that need only
the class names start fast. ``bevdepth_plus.datasets.nuscenes_dataset`` and
``bevdepth_plus.datasets.transforms`` register themselves with mmdet3d when they are imported.
"""
