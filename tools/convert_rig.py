#!/usr/bin/env python
"""Rig files from and to ROS calibration and nuScenes tables (docs/rig_files.md)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.nuscenes_calibration import rig_from_info, rig_from_tables, rig_to_tables
from bevdepth_plus.rigs.rig import Rig
from bevdepth_plus.rigs.rig_checks import check_rig
from bevdepth_plus.rigs.rig_file import load_rig, save_rig
from bevdepth_plus.rigs.ros_calibration import AXES, BASE_FRAME, rig_from_ros, rig_to_ros


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = parser.add_subparsers(dest="way", required=True)

    ros = ways.add_parser("from-ros", help="camera_info files and static transforms -> rig file")
    ros.add_argument("out", type=Path, help="rig file to write (.yaml)")
    ros.add_argument("--camera-info", type=Path, nargs="+", required=True, metavar="YAML")
    ros.add_argument("--transforms", type=Path, required=True, metavar="YAML")
    ros.add_argument(
        "--base", default=BASE_FRAME, help="the vehicle's frame (default: %(default)s)"
    )
    ros.add_argument(
        "--frames", nargs="+", default=[], metavar="CAMERA=FRAME", help="frames of the cameras"
    )
    ros.add_argument("--axes", choices=AXES, default="auto", help="axes of these frames")
    ros.add_argument("--lidar", metavar="FRAME", help="frame of the LiDAR")

    nuscenes = ways.add_parser("from-nuscenes", help="info file or version folder -> rig file")
    nuscenes.add_argument("source", type=Path, help="info file (.pkl), or folder such as v1.0-mini")
    nuscenes.add_argument("out", type=Path, help="rig file to write (.yaml)")
    nuscenes.add_argument("--sample", help="token of a sample of the info file (default: first)")
    nuscenes.add_argument("--scene", help="name of a scene of the folder (default: first)")
    nuscenes.add_argument(
        "--images", default="samples/{camera}", help="image folders beside the info file"
    )

    for name, text in (
        ("to-ros", "rig file -> folder of camera_info files and static transforms"),
        ("to-nuscenes", "rig file -> folder with sensor.json and calibrated_sensor.json"),
    ):
        way = ways.add_parser(name, help=text)
        way.add_argument("rig", type=Path, help="rig file")
        way.add_argument("out", type=Path, help="folder to write")
    parser.epilog = "".join(way.format_usage() for way in ways.choices.values())
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.way == "to-ros":
        rig_to_ros(load_rig(args.rig), args.out)
    elif args.way == "to-nuscenes":
        rig = load_rig(args.rig)
        rig_to_tables(rig, args.out)
        bent = [camera.name for camera in rig.cameras if camera.distortion is not None]
        if bent:
            print(f"{', '.join(bent)}: written as after undistortion; undistort the images too")
    else:
        rig = from_ros(args) if args.way == "from-ros" else from_nuscenes(args)
        save_rig(rig, args.out)
        for problem in check_rig(rig):
            print(problem)
        for camera in rig.cameras:
            x, y, z = camera.position
            fx, fy = camera.intrinsics[[0, 1], [0, 1]]
            lens = camera.distortion.model if camera.distortion else "pinhole"
            print(
                f"{camera.name}: {camera.width} x {camera.height}, fx {fx:.1f}, fy {fy:.1f}, "
                f"{lens}, at ({x:.2f}, {y:.2f}, {z:.2f}) m, frame {camera.frame_id or '-'}"
            )
    print(f"written: {args.out}")


def from_ros(args: argparse.Namespace) -> Rig:
    frames = {}
    for pair in args.frames:
        camera, equals, frame = pair.partition("=")
        if not (camera and equals and frame):
            raise DataError(f"--frames: expected CAMERA=FRAME, got {pair!r}")
        frames[camera] = frame
    rig = rig_from_ros(args.camera_info, args.transforms, args.base, frames, args.axes, args.lidar)
    unknown = sorted(set(frames) - set(rig.names))
    if unknown:
        raise DataError(
            f"--frames: there is no camera {unknown[0]!r}; there are {', '.join(rig.names)}"
        )
    return rig


def from_nuscenes(args: argparse.Namespace) -> Rig:
    if args.source.is_dir():
        return rig_from_tables(args.source, args.scene)
    samples = {info["token"]: info for info in read_info_file(args.source)["data_list"]}
    token = args.sample or next(iter(samples))
    if token not in samples:
        raise DataError(
            f"--sample: {args.source} has no sample {token}; leave it out for the first"
        )
    sizes = {}
    for name, camera in samples[token]["images"].items():
        path = args.source.parent / args.images.format(camera=name) / camera["img_path"]
        sizes[name] = size_of(name, path)
    return rig_from_info(samples[token], sizes)


def size_of(camera: str, path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(
            f"{camera}: cannot read the size of image {path} ({error}); say --images 'FOLDER/"
            "{camera}'"
        ) from None


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        print(f"{Path(sys.argv[0]).name}: {error}", file=sys.stderr)
        sys.exit(2)
