"""Transforms of the data pipeline; importing this package registers them with mmdet3d."""

from bevdepth_plus.datasets.transforms.bev_augmentation import BEVAugmentation
from bevdepth_plus.datasets.transforms.camera_coverage import DropUncoveredBoxes
from bevdepth_plus.datasets.transforms.dense_depth import LoadDenseDepth, LoadTeacherDepth
from bevdepth_plus.datasets.transforms.drop_cameras import DropCameras
from bevdepth_plus.datasets.transforms.image_augmentation import ImageAugmentation
from bevdepth_plus.datasets.transforms.lidar_depth import LidarDepthMaps, LoadLidarPoints
from bevdepth_plus.datasets.transforms.load_images import LoadMultiViewImages
from bevdepth_plus.datasets.transforms.map_layers import LoadMapLayers
from bevdepth_plus.datasets.transforms.moving_objects import MovingObjectPixels
from bevdepth_plus.datasets.transforms.optical_flow import LoadOpticalFlow
from bevdepth_plus.datasets.transforms.pack import PackBEVInputs
from bevdepth_plus.datasets.transforms.past_lidar_depth import PastLidarDepthMaps

__all__ = [
    "BEVAugmentation",
    "DropCameras",
    "DropUncoveredBoxes",
    "ImageAugmentation",
    "LidarDepthMaps",
    "LoadDenseDepth",
    "LoadLidarPoints",
    "LoadMapLayers",
    "LoadMultiViewImages",
    "LoadOpticalFlow",
    "LoadTeacherDepth",
    "MovingObjectPixels",
    "PackBEVInputs",
    "PastLidarDepthMaps",
]
