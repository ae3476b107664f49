#!/usr/bin/env python
"""Is the calibration of an info file or of a rig file plausible?

Prints a line a problem: camera, field, value, what to do. Exits with 1 if there is any.
With --pointmaps the images of an info file tell how far each camera's extrinsics are off.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.image_files import read_image
from bevdepth_plus.rigs.rig_checks import check_rig, elevations, field_of_view
from bevdepth_plus.rigs.rig_file import load_rig

NUM_OVERLAYS = 4
RIG_FILES = (".yaml", ".yml", ".json")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("infos", type=Path, help="info file (.pkl) or rig file (.yaml, .json)")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="PNG",
        help="of a rig file: draw the rig from above and each camera's horizon",
    )
    parser.add_argument(
        "--images", default="samples/{camera}", help="image folders beside the info file"
    )
    parser.add_argument(
        "--points", default="samples/LIDAR_TOP", help="LiDAR folder beside the info file"
    )
    parser.add_argument("--every", type=int, default=40, help="look at every so many samples")
    parser.add_argument(
        "--overlays",
        type=Path,
        metavar="DIR",
        help=f"draw LiDAR points and boxes over the images of {NUM_OVERLAYS} samples",
    )
    parser.add_argument(
        "--pointmaps",
        type=Path,
        metavar="WEIGHTS",
        help="two-view network with descriptors (tools/convert_pointmap_checkpoint.py, whose help "
        "states the rights): estimate the error of each camera's extrinsics",
    )
    parser.add_argument(
        "--pairs", type=int, default=40, help="image pairs of each camera for --pointmaps"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.pairs < 1:
        raise DataError(f"--pairs must be 1 or more, got {args.pairs}")
    if args.infos.suffix in RIG_FILES:
        if args.pointmaps is not None:
            raise DataError("--pointmaps needs images and poses: give an info file, no rig file")
        sys.exit(check_rig_file(args.infos, args.picture))
    if args.picture is not None:
        raise DataError("--picture draws rig files; for an info file say --overlays DIR")
    check_info_file(args)


def check_rig_file(path: Path, picture: Path | None) -> int:
    """Checks a rig; needs neither torch nor an mm* library."""
    rig = load_rig(path, check_poses=False)
    problems = check_rig(rig)
    print(
        "\n".join([*map(str, problems), f"cameras: {len(rig.cameras)}, problems: {len(problems)}"])
    )
    for camera in rig.cameras:
        low, high = elevations(camera)
        print(
            f"{camera.name}: field of view {field_of_view(camera):.0f} degrees, sees from "
            f"{low:.0f} to {high:.0f} degrees of elevation"
        )
    if picture is not None:
        from bevdepth_plus.rigs.rig_picture import draw_rig

        draw_rig(rig, picture)
        print(f"picture: {picture}")
    return 1 if problems else 0


def check_info_file(args: argparse.Namespace) -> None:
    from bevdepth_plus.datasets.calibration import check_sample
    from bevdepth_plus.datasets.info_file import read_info_file

    content = read_info_file(args.infos)
    infos = content["data_list"][:: max(1, args.every)]
    problems, horizons = [], []
    for info in infos:
        sizes = {}
        for name, camera in info["images"].items():
            path = args.infos.parent / args.images.format(camera=name) / camera["img_path"]
            sizes[name] = read_image(str(path)).shape[1::-1]
        problems += check_sample(info, sizes)
        horizons = horizons or horizon_lines(info, sizes)
    looked_at = f"looked at samples: {len(infos)}, problems: {len(problems)}"
    print("\n".join([*problems, looked_at, *horizons]))
    if args.overlays is not None:
        count = min(NUM_OVERLAYS, len(infos))
        for index in range(count):
            info = infos[index * len(infos) // count]
            draw_overlay(info, content["metainfo"]["categories"], args)
        print(f"overlays in {args.overlays}")
    wrong = [] if args.pointmaps is None else extrinsic_problems(args)
    sys.exit(1 if problems or wrong else 0)


def extrinsic_problems(args: argparse.Namespace) -> list[str]:
    """Prints the extrinsic error of each camera; returns a line for each that is wrong."""
    import torch
    from tqdm import tqdm

    from bevdepth_plus.checks.extrinsics import check_extrinsics
    from bevdepth_plus.pointmaps.calibration_pairs import PairSettings
    from bevdepth_plus.pointmaps.checkpoints import load_model

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = load_model(args.pointmaps).to(device)
    settings = PairSettings(args.pairs)
    bar = partial(tqdm, desc="matching", unit="pair")
    found = check_extrinsics(args.infos, model, settings, args.images, bar)
    problems = found.problems()
    print("\n".join(["", "extrinsics, true minus stated:", found.table(), *problems]))
    return problems


def horizon_lines(info: Mapping, sizes: Mapping[str, tuple[int, int]]) -> list[str]:
    """Where the cameras of one sample have the horizon, which the network's crop follows."""
    from bevdepth_plus.datasets.calibration import horizon_of

    return [
        f"{name}: horizon at row {horizon_of(camera, info, sizes[name][0]):.0f} of {sizes[name][1]}"
        for name, camera in info["images"].items()
    ]


def draw_overlay(info: Mapping, categories: Mapping[str, int], args: argparse.Namespace) -> None:
    from bevdepth_plus.visualization.calibration_page import draw_calibration, scene_of_info

    root = args.infos.parent
    folders = {name: str(root / args.images.format(camera=name)) for name in info["images"]}
    scene, ground_truth = scene_of_info(info, categories, folders, str(root / args.points))
    draw_calibration(scene, ground_truth).save(args.overlays / f"{info['token']}.png")


if __name__ == "__main__":
    try:
        main()
    except DataError as error:
        print(f"{Path(sys.argv[0]).name}: {str(error).splitlines()[-1]}", file=sys.stderr)
        sys.exit(2)
