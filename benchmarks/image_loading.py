#!/usr/bin/env python
"""Six camera images from JPEG to the network's pixels: the old way, the exact and the fast one.

All ways run in turn in one process on one thread; what counts is the process's CPU time, the least
of the rounds. The old way (OpenCV decodes, the whole image is resized, every image is warped) stays
here as the reference: the exact way must give its bits, or nothing is measured.

    OMP_NUM_THREADS=1 python benchmarks/image_loading.py --images 'FOLDER/*.jpg' --out result.json
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import write_json
from bevdepth_plus.rigs import image_files
from bevdepth_plus.rigs.image_crop import (
    ImageAugmentationParams,
    augment_image,
    augmentation_matrix,
)
from bevdepth_plus.rigs.image_files import read_bytes
from bevdepth_plus.rigs.images import decode, image_size

FINAL = (704, 256)  # width, height
Params = Sequence[ImageAugmentationParams]


def old_way(paths: Sequence[str], params: Params) -> list[np.ndarray]:
    """The data pipeline as it was before only the kept part was resized, in one function."""
    images = []
    for path, each in zip(paths, params, strict=True):
        colour = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = image_files.decode(read_bytes(path, "image"), colour, path, "image")
        raw = (image.shape[1], image.shape[0])
        shrinks = each.resized[0] < raw[0]
        way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(image, each.resized, interpolation=way)
        to_raw = np.diag([raw[0] / each.resized[0], raw[1] / each.resized[1], 1.0])
        half = np.array([[1.0, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
        matrix = augmentation_matrix(each, raw, FINAL)
        warp = np.linalg.inv(half) @ matrix @ to_raw @ half
        images.append(cv2.warpAffine(resized, warp[:2], FINAL, flags=cv2.INTER_LINEAR))
    return images


def new_way(fast: bool, paths: Sequence[str], params: Params) -> list[np.ndarray]:
    """What the data pipeline and the inferencer call."""
    images = []
    for path, each in zip(paths, params, strict=True):
        image, raw_size = decode(path, "CAM", FINAL if fast else None, rgb=False)
        images.append(augment_image(image, each, FINAL, raw_size)[0])
    return images


def test_params(sizes: Sequence[tuple[int, int]]) -> Params:
    params = []
    for width, height in sizes:
        fit = max(FINAL[0] / width, FINAL[1] / height)
        resized = (round(width * fit), round(height * fit))
        params.append(ImageAugmentationParams(resized, (0, resized[1] - FINAL[1])))
    return params


def training_params(sizes: Sequence[tuple[int, int]], seed: int = 0) -> Params:
    """As BEVDepth's recipe draws them: resized by 0.88 to 1.25 of the fit, flipped, rotated."""
    rng = np.random.default_rng(seed)
    params = []
    for width, height in sizes:
        scale = max(FINAL[0] / width, FINAL[1] / height) * rng.uniform(0.386 / 0.44, 0.55 / 0.44)
        resized = (round(width * scale), round(height * scale))
        left = int(rng.uniform(0, max(0, resized[0] - FINAL[0])))
        rotation = float(np.deg2rad(rng.uniform(-5.4, 5.4)))
        crop = (left, resized[1] - FINAL[1])
        params.append(ImageAugmentationParams(resized, crop, bool(rng.integers(2)), rotation))
    return params


def least_cpu_ms(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """CPU milliseconds of each way, the least of the rounds; the ways take turns."""
    least = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            way()
            least[name] = min(least[name], (time.process_time() - start) * 1000)
    return least


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", required=True, help="pattern of the JPEG files, quoted")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", help="JSON file to write")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    pattern = Path(args.images)
    paths = sorted(str(path) for path in pattern.parent.glob(pattern.name))
    if not paths:
        raise SystemExit(f"image_loading.py: no file fits --images {args.images!r}")
    try:
        sizes = [image_size(path, "CAM") for path in paths]
    except DataError as error:
        raise SystemExit(f"image_loading.py: {error}") from None
    decoder = "simplejpeg" if image_files.simplejpeg is not None else "OpenCV"
    result: dict = {"images": len(paths), "sizes": sorted(set(sizes)), "decoder": decoder}
    result |= {"processor": processor(), "opencv": cv2.__version__, "rounds": args.rounds}
    for kind, params in (("test", test_params(sizes)), ("training", training_params(sizes))):
        reference, exact, fast = (
            way(paths, params) for way in (old_way, partial(new_way, False), partial(new_way, True))
        )
        if not all(np.array_equal(a, b) for a, b in zip(reference, exact, strict=True)):
            raise SystemExit(f"image_loading.py: {kind}: the exact way is not the old one's bits")
        gap = np.abs(np.stack(fast).astype(int) - np.stack(exact))
        ways = {
            "old": partial(old_way, paths, params),
            "exact": partial(new_way, False, paths, params),
            "fast": partial(new_way, True, paths, params),
        }
        ms = least_cpu_ms(ways, args.rounds)
        result[kind] = {
            "cpu_ms": {name: round(value, 1) for name, value in ms.items()},
            "times_faster": {name: round(ms["old"] / ms[name], 2) for name in ("exact", "fast")},
            "fast_grey_levels": {
                "mean": round(float(gap.mean()), 2),
                "p99": round(float(np.percentile(gap, 99)), 1),
            },
        }
        print(f"{kind}, {len(paths)} images, one thread, {decoder}:")
        for name, value in ms.items():
            print(f"  {name:6s} {value:7.1f} ms CPU   {ms['old'] / value:.2f}x")
        print(
            f"  fast is {gap.mean():.2f} grey levels from exact (p99 {np.percentile(gap, 99):.0f})"
        )
    if args.out:
        write_json(args.out, result, indent=1)


def processor() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    main()
