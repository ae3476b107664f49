"""Does a calibration hold? LiDAR points and boxes over every image, straight from an info file."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from bevdepth_plus.datasets.ground_truth import is_hit, names_by_label
from bevdepth_plus.datasets.sample_record import link_frames, parse_sample
from bevdepth_plus.geometry.boxes import transform_boxes
from bevdepth_plus.visualization import style
from bevdepth_plus.visualization.camera_view import draw_camera
from bevdepth_plus.visualization.depth_page import BAR_HEIGHT, depth_scale, draw_bar, draw_points
from bevdepth_plus.visualization.layout import Page, camera_rows, row_panels
from bevdepth_plus.visualization.load import load_scene
from bevdepth_plus.visualization.scene import Boxes, Scene


def draw_calibration(scene: Scene, ground_truth: Boxes) -> Page:
    """All cameras with LiDAR points, coloured by depth, and boxes over them."""
    rows = camera_rows(scene.cameras)
    panels, top = row_panels(rows, style.PAGE_WIDTH, top=style.GAP)
    page = Page(style.PAGE_WIDTH, round(top + BAR_HEIGHT))
    scale = depth_scale()
    for row, row_of_panels in zip(rows, panels, strict=True):
        for camera, panel in zip(row, row_of_panels, strict=True):
            axes = page.panel(*panel, name=camera.name)
            draw_camera(axes, camera, ground_truth)
            draw_points(axes, scene, camera, scale)
    draw_bar(page, top, scale)
    return page


def scene_of_info(
    info: Mapping,
    categories: Mapping[str, int],
    camera_folders: Mapping[str, str],
    lidar_folder: str,
) -> tuple[Scene, Boxes]:
    """One sample of an info file as it was taken, and its boxes in the ego frame.

    Boxes known to hold no LiDAR or radar point are left out.

    Args:
        info: An entry of ``data_list``.
        categories: ``metainfo.categories``, name -> label; objects of label -1 are left out.
        camera_folders: Folder of each camera's images.
        lidar_folder: Folder of the point clouds.

    Raises:
        DataError: a calibration is unusable, or a file is missing or broken.
    """
    names = names_by_label(categories)
    labels = {-1: -1} | {label: label for label in names}
    record = parse_sample(info, list(info["images"]), labels, camera_folders, lidar_folder)
    shown = (record["labels"] >= 0) & is_hit(record["num_points"])
    boxes = transform_boxes(
        torch.from_numpy(record["boxes"][shown]), torch.from_numpy(record["lidar2ego"])
    )
    scene = load_scene(link_frames(record, {}, num_frames=1))
    return scene, Boxes(boxes.numpy(), tuple(names[label] for label in record["labels"][shown]))
