"""Boxes of your own images: a rig and its image files, videos, or a nuScenes-format scene.

MODEL is a config, with a CHECKPOINT, or a folder that tools/export_onnx.py wrote: then neither
PyTorch nor an mm* library is needed. See docs/own_images.md. GOMP_SPINCOUNT=0 and KMP_BLOCKTIME=0
are set, unless they or OMP_WAIT_POLICY are: threads that wait sleep, for spinning ones slow a busy
machine down many times.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import bevdepth_plus.threads  # noqa: F401  # before torch, which a config's backend imports
from bevdepth_plus.deploy.backends import BACKENDS
from bevdepth_plus.deploy.command_line import progress, run_light_tool
from bevdepth_plus.deploy.drawing import PageStyle
from bevdepth_plus.deploy.infer_outputs import OUTPUTS, PICTURES, Outputs, check_outputs
from bevdepth_plus.deploy.infer_summary import Summary
from bevdepth_plus.deploy.inferencer import Inferencer
from bevdepth_plus.deploy.results import Result
from bevdepth_plus.deploy.sources.drives import Drive, Moment, only_cameras
from bevdepth_plus.deploy.sources.image_files import drive_from_folder, drive_from_patterns
from bevdepth_plus.deploy.sources.nuscenes_scenes import drive_from_scene
from bevdepth_plus.deploy.sources.pose_files import read_poses
from bevdepth_plus.deploy.sources.videos import drive_from_videos
from bevdepth_plus.deploy.streaming import Stream, StreamLimits
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.images import DECODING
from bevdepth_plus.rigs.rig_checks import check_rig
from bevdepth_plus.rigs.rig_file import load_rig


def parse_args() -> argparse.Namespace:
    introduction, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(description=introduction, epilog=more)
    parser.add_argument("model", metavar="MODEL", help="config file, or folder of exported files")
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", nargs="?", help="of the config; a folder has none"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for what is written")
    parser.add_argument(
        "--write",
        nargs="+",
        metavar="NAME",
        default=["nuscenes", PICTURES],
        help=f"what: {', '.join(OUTPUTS)} (default: nuscenes {PICTURES})",
    )
    _add_sources(parser)
    group = parser.add_argument_group("how")
    group.add_argument(
        "--score-thr",
        type=float,
        default=0.3,
        help="leave out boxes below, but not from nuScenes results (default: 0.3)",
    )
    group.add_argument("--depth", action="store_true", help="depth maps, too")
    group.add_argument("--limit", type=int, metavar="N", help="stop after N moments")
    group.add_argument("--backend", choices=["auto", *BACKENDS], default="auto")
    group.add_argument(
        "--precision", choices=["fp32", "bf16", "fp16"], help="of the network (default: fp32)"
    )
    group.add_argument("--device", help="of a config: cpu, cuda (default: a GPU if there is one)")
    group.add_argument(
        "--pixels",
        choices=DECODING,
        default="exact",
        help="exact: as in training; fast: JPEGs decoded at a fraction of their size",
    )
    return parser.parse_args()


def _add_sources(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("images (without --images, --video and --nuscenes: --rig's)")
    group.add_argument("--rig", type=Path, help="rig file; docs/rig_files.md")
    source = group.add_mutually_exclusive_group()
    source.add_argument(
        "--images", type=Path, metavar="FOLDER", help="a folder or one file for each camera's name"
    )
    source.add_argument(
        "--video", nargs="+", metavar="CAMERA=FILE", help="videos that begin at one time"
    )
    source.add_argument("--nuscenes", type=Path, metavar="ROOT", help="data set in this format")
    group.add_argument("--version", default="v1.0-mini", help="of --nuscenes (default: v1.0-mini)")
    group.add_argument("--scene", help="of --nuscenes, for example scene-0061")
    group.add_argument("--cameras", nargs="+", metavar="NAME", help="only these")
    group.add_argument("--fps", type=float, help="moments a second, where files have no times")
    group.add_argument(
        "--poses", type=Path, metavar="CSV|JSON", help="ego poses, for a model of several frames"
    )
    group.add_argument(
        "--interval",
        type=float,
        help="seconds between the model's frames (default: as in its training)",
    )


def main() -> None:
    args = parse_args()
    check_outputs(args.write)
    check_numbers(args)
    check_model(args)
    drive = open_drive(args)
    for note in drive.notes:
        print(note)
    options = {name: getattr(args, name) for name in ("precision", "device") if getattr(args, name)}
    inferencer = Inferencer(args.model, args.checkpoint, args.backend, args.pixels, **options)
    model = inferencer.description
    if model.num_frames > 1 and not drive.poses:
        print(
            f"the model sees {model.num_frames} frames and there are no poses (--poses): the past "
            "is not used, velocities will be poor"
        )
    style = PageStyle(args.score_thr, model.grid)
    with Outputs(
        args.out, args.write, drive.rig, model.classes, style, bool(drive.poses)
    ) as outputs:
        if "nuscenes" in args.write and not drive.poses:
            print("no poses: the nuScenes results are in the ego frame, not in a global one")
        summary = run(inferencer, drive, outputs, args)
    print(summary.text(style.score_threshold))
    if outputs.without_pose:
        print(f"without a pose, and not in the nuScenes results: {outputs.without_pose} moments")
    for path in outputs.paths:
        print(f"wrote {path}")


def run(
    inferencer: Inferencer, drive: Drive, outputs: Outputs, args: argparse.Namespace
) -> Summary:
    """Detect in every moment and write the results.

    Raises:
        DataError: no moment could be used, or a result cannot be written.
    """
    limits = StreamLimits(window=drive.window + 1e-6, interval=args.interval)
    stream = Stream(inferencer, drive.rig, limits, with_depth=args.depth, image_by_image=False)
    summary = Summary()
    count = drive.count if args.limit is None else min(args.limit, drive.count or args.limit)
    poses = iter(drive.poses)
    pose = next(poses, None)
    for moment in progress(islice(drive.moments, args.limit), count, "moment"):
        # Poses up to the first one after the moment; the stream keeps those of ten seconds.
        while pose is not None:
            stream.push_pose(pose.stamp, pose.world_T_ego)
            newer, pose = pose.stamp >= moment.stamp, next(poses, None)
            if newer:
                break
        for result in results_of(stream, moment):
            confident = int((result.boxes.scores >= args.score_thr).sum())
            summary.add(result, confident)
            images = {image.camera: image.image for image in moment.images}
            start = time.perf_counter()
            outputs.write(result, images, moment.token)
            spent = 1e3 * (time.perf_counter() - start)
            summary.times.add({**result.milliseconds, "writing": spent})
    if not summary.moments:
        bad = [f"{name}: {why}" for name, why in unusable(drive, stream).items()]
        raise DataError(f"no image could be used; {bad[0] if bad else 'there is none'}")
    return summary


def results_of(stream: Stream, moment: Moment) -> list[Result]:
    """The results of one moment, whether it is complete or not."""
    results = []
    for image in moment.images:
        results += stream.push_image(image.camera, image.stamp, image.image)
    return results + stream.flush()


def unusable(drive: Drive, stream: Stream) -> dict[str, str]:
    """Why the images of the first moment cannot be used."""
    reasons = {}
    for moment in islice(drive.moments, 1):
        for image in moment.images:
            try:
                stream.inferencer.prepare(image.image, drive.rig[image.camera])
            except DataError as error:
                reasons[image.camera] = str(error)
    return reasons


def open_drive(args: argparse.Namespace) -> Drive:
    """The images and poses that the options name.

    Raises:
        DataError: an option is missing, or something cannot be read.
    """
    if args.nuscenes is not None:
        if args.rig is not None or args.poses is not None:
            raise DataError("--nuscenes has its own rig and poses; leave out --rig and --poses")
        return drive_from_scene(args.nuscenes, args.version, args.scene, args.cameras)
    if args.rig is None:
        raise DataError("give the cameras with --rig RIG.yaml, or a scene with --nuscenes ROOT")
    rig = only_cameras(load_rig(args.rig), args.cameras)
    if args.images is not None:
        drive = drive_from_folder(args.images, rig, args.fps)
    elif args.video is not None:
        drive = drive_from_videos(rig, parse_videos(args.video), args.fps)
    else:
        drive = drive_from_patterns(rig, args.fps)
    doubts = tuple(f"{args.rig}: {problem}" for problem in check_rig(rig))
    drive = replace(drive, notes=(*doubts, *drive.notes))
    return drive if args.poses is None else drive.with_poses(read_poses(args.poses))


def parse_videos(words: list[str]) -> dict[str, Path]:
    """``CAMERA=FILE`` words by camera.

    Raises:
        DataError: a word has another form, or a camera stands twice.
    """
    videos: dict[str, Path] = {}
    for word in words:
        camera, equals, path = word.partition("=")
        if not (camera and equals and path):
            raise DataError(f"--video {word}: expected CAMERA=FILE, for example FRONT=front.mp4")
        if camera in videos:
            raise DataError(f"--video: camera {camera} has two videos")
        videos[camera] = Path(path)
    return videos


def check_model(args: argparse.Namespace) -> None:
    """Asked before anything is loaded.

    Raises:
        DataError: MODEL does not exist.
    """
    if not Path(args.model).exists():
        raise DataError(
            f"MODEL {args.model} does not exist; give a config and its checkpoint, or a folder "
            "that tools/export_onnx.py wrote"
        )


def check_numbers(args: argparse.Namespace) -> None:
    """Refuses numbers that make no sense.

    Raises:
        DataError: one does not.
    """
    if args.fps is not None and not 0 < args.fps <= 1000:
        raise DataError(f"--fps {args.fps:g}: give moments a second, above 0 and at most 1000")
    if args.limit is not None and args.limit < 1:
        raise DataError(f"--limit {args.limit}: give 1 or more")
    if not 0 <= args.score_thr <= 1:
        raise DataError(f"--score-thr {args.score_thr:g}: scores are from 0 to 1")
    if args.interval is not None and not 0 < args.interval <= 10:
        raise DataError(f"--interval {args.interval:g}: give seconds, above 0 and at most 10")


if __name__ == "__main__":
    run_light_tool(main)
