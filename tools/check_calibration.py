"""Is the calibration of an info file plausible? Prints a line a problem; exits with 1 if any."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bevdepth_plus.datasets.calibration import check_sample
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.transforms.load_images import read_image
from bevdepth_plus.engine.launch import run_tool


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("infos", type=Path, help="info file (.pkl)")
    parser.add_argument(
        "--images", default="samples/{camera}", help="image folders beside the info file"
    )
    parser.add_argument("--every", type=int, default=40, help="look at every so many samples")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    infos = read_info_file(args.infos)["data_list"][:: max(1, args.every)]
    problems = []
    for info in infos:
        sizes = {}
        for name, camera in info["images"].items():
            folder = args.infos.parent / args.images.format(camera=name)
            sizes[name] = read_image(str(folder / camera["img_path"])).shape[1::-1]
        problems += check_sample(info, sizes)
    print("\n".join([*problems, f"{len(infos)} samples looked at, {len(problems)} problems"]))
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    run_tool(main)
