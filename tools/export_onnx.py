#!/usr/bin/env python
"""Export a detector: ``tools/export_onnx.py CONFIG CHECKPOINT OUT_FOLDER``; see docs/export.md.

The files are compared with PyTorch before the folder appears: cells, maps and boxes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from mmdet3d.utils import register_all_modules
from mmengine.config import Config, DictAction

from bevdepth_plus.deploy.packages import require_package
from bevdepth_plus.engine.launch import load_config, run_tool
from bevdepth_plus.errors import DataError
from bevdepth_plus.files import atomic_folder, write_json
from bevdepth_plus.visualization.from_config import build_dataset, build_model
from bevdepth_plus.writable import require_writable

RANDOM_RIGS = (1, 4, 6)  # cameras


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("out", type=Path, help="folder that will hold the model")
    parser.add_argument(
        "--form",
        choices=["one", "parts", "gather"],
        default="parts",
        help="one graph; parts with the pooling between them; parts with a pooling without scatter",
    )
    parser.add_argument(
        "--deformable",
        choices=["DeformConv", "GridSample"],
        help="what a deformable convolution becomes (default: GridSample in parts, which OpenVINO "
        "runs, else DeformConv)",
    )
    parser.add_argument(
        "--verify",
        type=int,
        metavar="N",
        default=8,
        help="samples of the config's test data set to compare, spread evenly (default: 8); "
        "without the data set, or with 0, random images of 1, 4 and 6 cameras",
    )
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="settings to override, key=value"
    )
    args = parser.parse_args()
    if args.verify < 0:
        parser.error("--verify: give 0 or more")
    return args


def main() -> None:
    args = parse_args()
    for package in ("onnx", "onnxscript", "onnxruntime"):
        require_package(package, "export")
    require_replaceable(args.out)
    require_writable(args.out.resolve().parent, "OUT_FOLDER")
    cfg = load_config(args.config, None, args.cfg_options)
    register_all_modules()
    say = progress()
    say(f"loading {args.checkpoint}")
    cfg.model.image_encoder.backbone.init_cfg = None  # all weights come from the checkpoint
    detector = build_model(cfg, args.checkpoint, torch.device("cpu")).requires_grad_(False)
    export(detector, cfg, args, say)


def export(
    detector: Any, cfg: Config, args: argparse.Namespace, say: Callable[[str], None]
) -> None:
    """Export, verify, and only then put the folder into place."""
    from bevdepth_plus.deploy.describe import describe
    from bevdepth_plus.deploy.description import FILE_NAME, describe_file
    from bevdepth_plus.deploy.export import export_graphs, save
    from bevdepth_plus.deploy.translations import DEFORMABLE
    from bevdepth_plus.deploy.verify import verify

    deformable = args.deformable or ("GridSample" if args.form == "parts" else "DeformConv")
    graphs = export_graphs(detector, args.form, deformable, say)
    samples, inputs = samples_of(detector, cfg, args.verify)
    with atomic_folder(args.out) as folder:
        say("writing")
        save(graphs, folder)
        graphs.clear()
        files = tuple(describe_file(path) for path in sorted(folder.iterdir()))
        name, opset = Path(args.config).name, DEFORMABLE[deformable]
        model = describe(detector, cfg, name, args.form, deformable, opset)
        model = replace(model, files=files)
        write_json(folder / FILE_NAME, model.to_json(), indent=1)
        say(f"comparing with PyTorch: {inputs}")
        verified = verify(detector, folder, samples, inputs, say)
        write_json(folder / FILE_NAME, replace(model, verified=verified).to_json(), indent=1)
    for file in files:
        print(f"{args.out / file.name}: {file.bytes / 1e6:.1f} MB")
    worst = max(verified.largest_difference.values())
    print(
        f"{args.out / FILE_NAME}: {verified.samples} samples agree: {verified.cells:,} cells "
        f"equal, maps within {worst:.1e}, {verified.boxes} boxes found again"
    )


def samples_of(detector: Any, cfg: Config, wanted: int) -> tuple[Iterable[Any], str]:
    """What to compare on, and its name."""
    from bevdepth_plus.deploy.samples import loaded_sample, random_samples

    random = f"random images of {', '.join(map(str, RANDOM_RIGS))} cameras"
    if not wanted:
        return random_samples(detector, RANDOM_RIGS), random
    try:
        dataset = build_dataset(cfg, "test")
    except (DataError, FileNotFoundError) as error:
        reason = " ".join(str(error).split())
        return random_samples(detector, RANDOM_RIGS), f"{random} (no test data: {reason:.150})"
    count = min(wanted, len(dataset))
    indices = [index * len(dataset) // count for index in range(count)]
    samples = (loaded_sample(dataset[i], detector.temporal.num_frames) for i in indices)
    return samples, f"{count} of {len(dataset)} samples of {cfg.test_dataloader.dataset.ann_file}"


def require_replaceable(out: Path) -> None:
    """Refuse to replace what is not an earlier export.

    Raises:
        DataError: there is something else at `out`.
    """
    if out.is_dir() and (not any(out.iterdir()) or (out / "model.json").is_file()):
        return
    if out.exists():
        raise DataError(f"{out} exists and holds no exported model; give another OUT_FOLDER")


def progress() -> Callable[[str], None]:
    """Prints lines with the seconds since the start."""
    start = time.monotonic()
    return lambda line: print(f"[{time.monotonic() - start:6.1f} s] {line}", flush=True)


if __name__ == "__main__":
    run_tool(main)
