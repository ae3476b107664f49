"""One frame of six cameras, stage by stage, in each backend: python benchmarks/latency.py

    OMP_NUM_THREADS=1 python benchmarks/latency.py --exported FOLDER [--rounds N]

The same weights run the reference way, too: eager PyTorch in float32 and pooling of the
materialised points. Times are processor times of one thread, which other processes do not disturb;
contenders take turns. "After the last image" is what is left to do when five of six images have
been seen: one image, pooling, the BEV part, boxes.

`--exported` names what `tools/export_onnx.py CONFIG CHECKPOINT FOLDER --form parts` wrote; without
it PyTorch alone runs. Results go to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from mmdet3d.registry import MODELS
from mmdet3d.utils import register_all_modules
from tqdm import tqdm

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.deploy.backends import open_backend
from bevdepth_plus.deploy.decoding import decode
from bevdepth_plus.deploy.features import Backend
from bevdepth_plus.engine.launch import load_config
from bevdepth_plus.errors import DataError
from bevdepth_plus.files import write_json
from bevdepth_plus_ops import bev_pool_reference

CAMERAS = 6
REFERENCE = "torch fp32, reference way"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/bevdepth_r50_256x704_24e.py")
    parser.add_argument("--checkpoint", type=Path, help="default: random weights, for the speed")
    parser.add_argument("--exported", type=Path, help="folder of exported parts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backends", nargs="+", metavar="NAME", help="some of them")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/latency.json"))
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    register_all_modules()
    checkpoint = args.checkpoint or random_weights(args.config)
    contenders = open_contenders(args, checkpoint)
    inputs = random_inputs(next(iter(contenders.values())))
    times: dict[str, dict[str, list[float]]] = {name: {} for name in contenders}
    for turn in tqdm(range(args.rounds + 1), desc="rounds", unit="round"):
        for name, backend in contenders.items():
            for stage, milliseconds in one_frame(backend, inputs, name == REFERENCE).items():
                if turn:  # the first compiles, plans and warms up
                    times[name].setdefault(stage, []).append(milliseconds)
    medians = {
        name: {stage: statistics.median(values) for stage, values in stages.items()}
        for name, stages in times.items()
    }
    show(medians)
    write_json(args.out, dict(environment=environment(args), median_ms=medians), indent=1)
    print(f"written to {args.out}")


def open_contenders(args: argparse.Namespace, checkpoint: Path) -> dict[str, Backend]:
    makers: dict[str, Callable[[], Backend]] = {
        REFERENCE: lambda: open_backend(args.config, checkpoint, device="cpu"),
        "torch fp32": lambda: open_backend(args.config, checkpoint, device="cpu"),
        "torch bf16": lambda: open_backend(args.config, checkpoint, device="cpu", precision="bf16"),
        "torch fp32 compiled": lambda: open_backend(
            args.config, checkpoint, device="cpu", compiled=True
        ),
        "torch bf16 compiled": lambda: open_backend(
            args.config, checkpoint, device="cpu", precision="bf16", compiled=True
        ),
    }
    if args.exported:
        makers["onnxruntime fp32"] = lambda: open_backend(args.exported, name="onnx", threads=1)
        for precision in ("f32", "bf16"):
            makers[f"OpenVINO {precision}"] = lambda precision=precision: open_backend(
                args.exported, name="openvino", precision=precision, threads=1
            )
    contenders = {}
    for name, make in makers.items():
        if args.backends and name not in args.backends:
            continue
        try:
            contenders[name] = make()
        except DataError as error:
            print(f"{name} is left out: {error}")
    return contenders


def random_weights(config: str) -> Path:
    """A checkpoint of random weights; with it, boxes mean nothing and times are real."""
    from tempfile import mkdtemp

    from mmengine.registry import init_default_scope

    init_default_scope("mmdet3d")
    torch.manual_seed(0)
    cfg = load_config(config, None, None)
    cfg.model.image_encoder.backbone.init_cfg = None
    path = Path(mkdtemp()) / "random.pth"
    torch.save({"state_dict": MODELS.build(cfg.model).state_dict()}, path)
    return path


def random_inputs(backend: Backend) -> tuple[np.ndarray, ...]:
    """Noise and six cameras around the vehicle, as nuScenes' 1600 x 900 images come."""
    height, width = backend.description.image_size
    scale = max(height / 900, width / 1600)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (CAMERAS, 3, height, width), dtype=np.uint8)
    intrinsics = np.tile(np.array([[1266.0, 0, 816], [0, 1266, 491], [0, 0, 1]]), (CAMERAS, 1, 1))
    image_aug = np.tile(np.diag([scale, scale, 1.0]), (CAMERAS, 1, 1))
    image_aug[:, 1, 2] = height - 900 * scale
    poses = np.tile(np.eye(4), (CAMERAS, 1, 1))
    forward = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    for index, yaw in enumerate(np.radians([55, 0, -55, 110, 180, -110])):
        turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        poses[index, :3, :3] = turn @ forward
        poses[index, :3, 3] = 1.0 + 0.7 * np.cos(yaw), 0.5 * np.sin(yaw), 1.5
    return images, intrinsics, poses, image_aug


def one_frame(
    backend: Backend, inputs: tuple[np.ndarray, ...], materialised: bool
) -> dict[str, float]:
    """Milliseconds of each stage of a frame."""
    clock = Clock()
    features = clock.time("image part, six", lambda: backend.perceive(*inputs))
    clock.time("image part, one", lambda: backend.perceive(*(array[:1] for array in inputs)))
    if materialised:
        bev = clock.time("pooling", lambda: materialised_bev(backend, features, inputs))
    else:
        bev = clock.time("pooling", lambda: backend.splat(features, *inputs[1:]))
    frames = backend.description.num_frames
    maps = clock.time("BEV part", lambda: backend.head_maps([bev] * frames))
    clock.time("boxes", lambda: decode(maps, backend.description))
    poses = inputs[2].copy()
    poses[:, 0, 3] += 1e-3 * np.random.default_rng().random()  # another rig at each turn
    clock.time(
        "pooling, new calibration", lambda: backend.splat(features, inputs[1], poses, inputs[3])
    )
    spent = clock.milliseconds
    after = spent["pooling"] + spent["BEV part"] + spent["boxes"]
    return spent | {
        "whole": spent["image part, six"] + after,
        "after the last image": spent["image part, one"] + after,
    }


def materialised_bev(backend, features, inputs):
    """The BEV map by the definition: every point's feature, then one index_add."""
    depth, context = (
        torch.cat([getattr(each, name) for each in features])[None] for name in ("depth", "context")
    )
    cameras = backend.cameras(*inputs[1:])
    frustum = backend.detector.view_transform.frustum
    return bev_pool_reference(depth, context, frustum.cells(cameras), frustum.grid.bev_size)


class Clock:
    """Processor time by stage."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}

    def time(self, stage: str, call: Callable):
        # Runtimes have threads of their own even for one: the process' time holds them all.
        start = time.process_time()
        result = call()
        self.milliseconds[stage] = 1e3 * (time.process_time() - start)
        return result


def show(medians: Mapping[str, Mapping[str, float]]) -> None:
    stages = list(next(iter(medians.values())))
    width = max(len(name) for name in medians) + 2
    reference = medians.get(REFERENCE, next(iter(medians.values())))["whole"]
    print(" " * width, *(f"{stage:>25}" for stage in stages), "  against the reference way")
    for name, row in medians.items():
        share = row["after the last image"] / row["whole"]
        print(
            f"{name:{width}}",
            *(f"{row[stage]:22.1f} ms" for stage in stages),
            f"  {reference / row['whole']:.2f}x; after the last image {share:.0%}",
        )


def environment(args: argparse.Namespace) -> dict[str, str | int]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith("flags")).split()
    return dict(
        processor=next(line for line in lines if line.startswith("model name")).split(": ")[1],
        low_precision=" ".join(f for f in ("amx_bf16", "avx512_bf16") if f in flags) or "none",
        torch=torch.__version__, python=platform.python_version(), threads=1,
        config=args.config, rounds=args.rounds,
        weights=args.checkpoint.name if args.checkpoint else "random",
        clock="processor time of the process",
    )  # fmt: skip


if __name__ == "__main__":
    main()
