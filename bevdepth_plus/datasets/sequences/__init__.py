"""Data for depth from motion: frames with known poses in a row, whatever folder they come from.

- ``frames``: a frame and a sequence; ``folders``: what the readers share;
- ``scannet``, ``sun3d``, ``tum``, ``nuscenes``: one reader a layout;
- ``layouts``: the readers by name;
- ``views``: which frames are seen together, and their pixels and depth at the network's size;
- ``augmentation``: all views mirrored or in other colours;
- ``dataset``: ``SequenceDataset``, which a config names.

Pixel centres lie at integers + 0.5, as in the whole project. ScanNet, SUN3D and TUM count them at
integers; their readers add 0.5 to the principal point.
"""
