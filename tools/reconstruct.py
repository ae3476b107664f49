"""Cameras, dense depth, matches and a point cloud from images alone (two-view pointmaps).

Weights: a file of tools/convert_pointmap_checkpoint.py, whose help states the rights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bevdepth_plus.engine.launch import run_tool
from bevdepth_plus.errors import DataError


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    parser.add_argument("--weights", type=Path, required=True, help="NAME.safetensors or NAME.pth")
    parser.add_argument("--out", type=Path, default=Path("reconstruction"), help="folder")
    parser.add_argument(
        "--masks",
        type=Path,
        help="folder with NAME.png for each image: 0 is left out, as moving cars",
    )
    parser.add_argument("--rig", type=Path, help="JSON, intrinsics by image name")
    parser.add_argument("--poses", type=Path, help="JSON, world_T_cam by image name")
    parser.add_argument(
        "--window", type=int, help="pair each image with that many next ones; default: with all"
    )
    parser.add_argument("--shared-intrinsics", action="store_true", help="one camera took them all")
    parser.add_argument("--long-side", type=int, default=512, help="pixels")
    parser.add_argument("--min-confidence", type=float, default=1.5, help="of the cloud's points")
    parser.add_argument("--cache", type=Path, help="folder that keeps the pairs' results")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def main() -> None:
    args = parse_args()

    from tqdm import tqdm

    from bevdepth_plus.pointmaps.checkpoints import load_model
    from bevdepth_plus.pointmaps.exports import write_reconstruction
    from bevdepth_plus.pointmaps.global_alignment import Settings
    from bevdepth_plus.pointmaps.images import load_image
    from bevdepth_plus.pointmaps.known_cameras import read_known
    from bevdepth_plus.pointmaps.pair_cache import PairCache
    from bevdepth_plus.pointmaps.pair_graphs import complete_pairs, window_pairs
    from bevdepth_plus.pointmaps.reconstruction import cache_settings, reconstruct

    images = [load_image(path, args.long_side, mask_of(args.masks, path)) for path in args.images]
    check_names(images)
    known = read_known(images, args.rig, args.poses)
    count = len(images)
    pairs = complete_pairs(count) if args.window is None else window_pairs(count, args.window)
    model = load_model(args.weights).to(args.device)
    cache = PairCache(args.cache, model, cache_settings(model, subsample=8))
    settings = Settings(shared_intrinsics=args.shared_intrinsics)
    steps = settings.coarse.iterations + settings.fine.iterations
    with tqdm(total=len(pairs) + steps, desc="pairs") as bar:

        def on_step(stage: str, step: int) -> None:
            bar.set_description(f"{stage} alignment", refresh=step == 0)
            bar.update()

        try:
            found = reconstruct(
                model, images, pairs, known, settings, 8, cache, bar.update, on_step
            )
        except ValueError as error:
            raise DataError(str(error)) from None
    for path in write_reconstruction(found, images, args.out, args.min_confidence):
        print(path)
    known_share = sum((d > 0).double().mean().item() for d in found.depth) / count
    print(f"depth of {known_share:.0%} of all pixels; {found.dropped:.0%} of matches dropped")


def mask_of(folder: Path | None, image: Path) -> Path | None:
    if folder is None:
        return None
    if not folder.is_dir():
        raise DataError(f"--masks {folder} is no folder")
    return folder / f"{image.stem}.png"


def check_names(images) -> None:
    names = [Path(image.name).stem for image in images]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two images are named {twice[0]}: results are written by name")


if __name__ == "__main__":
    run_tool(main)
