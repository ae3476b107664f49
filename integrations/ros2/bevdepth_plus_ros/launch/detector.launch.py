"""Starts the detector for the cameras of one vehicle; remap the inputs to its topics."""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

CAMERAS = 6


def generate_launch_description() -> LaunchDescription:
    share = Path(get_package_share_directory("bevdepth_plus_ros"))
    inputs = [
        (
            f"~/input/camera{index}/{kind}",
            f"/sensing/camera/camera{index}/{kind}",
        )
        for index in range(CAMERAS)
        for kind in ("image", "image/compressed", "camera_info")
    ]
    return LaunchDescription(
        [
            DeclareLaunchArgument("params", default_value=str(share / "config" / "detector.yaml")),
            DeclareLaunchArgument("model", description="folder of exported files"),
            Node(
                package="bevdepth_plus_ros",
                executable="detector",
                name="bevdepth_plus",
                output="screen",
                parameters=[
                    LaunchConfiguration("params"),
                    {"model": LaunchConfiguration("model")},
                ],
                remappings=[
                    *inputs,
                    ("~/input/kinematic_state", "/localization/kinematic_state"),
                    (
                        "~/output/objects",
                        "/perception/object_recognition/detection/objects",
                    ),
                ],
            ),
        ]
    )
