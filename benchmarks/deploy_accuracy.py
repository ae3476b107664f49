"""What deployment costs in mAP, on a config's own validation set.

    python benchmarks/deploy_accuracy.py CONFIG CHECKPOINT [--exported FOLDER] [--samples N]
        [--data-root ROOT] [--only WORD]

The same checkpoint runs as PyTorch in float32 with the test pipeline's pixels, then with fast
pixels, in bfloat16, and exported (`--exported`: what tools/export_onnx.py wrote). Results are
written after every variant.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmdet3d.utils import register_all_modules
from tqdm import tqdm

import bevdepth_plus.plugin  # noqa: F401
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.deploy.inferencer import Inferencer
from bevdepth_plus.engine.launch import load_config
from bevdepth_plus.errors import DataError
from bevdepth_plus.evaluation.detection import evaluate_detections
from bevdepth_plus.evaluation.nuscenes_format import results_from_boxes
from bevdepth_plus.files import write_json
from bevdepth_plus.rigs.images import image_size
from bevdepth_plus.rigs.rig import Rig, RigCamera
from bevdepth_plus.visualization.from_config import build_dataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--exported", type=Path, help="folder of exported files")
    parser.add_argument("--data-root", help="another data set than the config's")
    parser.add_argument("--only", default="", help="variants with this word, such as fp32")
    parser.add_argument("--samples", type=int, help="so many, spread evenly; default: all")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/deploy_accuracy.json"))
    args = parser.parse_args()
    register_all_modules()
    cfg = load_config(args.config, None, None)
    if args.data_root:
        cfg.val_dataloader.dataset.data_root = args.data_root
    dataset = build_dataset(cfg, "val")
    count = min(args.samples or len(dataset), len(dataset))
    chosen = [index * len(dataset) // count for index in range(count)]
    report: dict[str, Any] = dict(config=args.config, samples=count)
    for name, make in variants(args).items():
        if args.only not in name:
            continue
        try:
            inferencer = make()
        except DataError as error:
            print(f"{name} is left out: {error}")
            continue
        if inferencer.description.num_frames > 1:
            raise DataError(f"{args.config} has several frames; give a config of one")
        report[name] = scores(inferencer, dataset, chosen, name)
        write_json(args.out, report, indent=1)
        base = next(found for found in report.values() if isinstance(found, dict))
        print(
            f"{name:24} mAP {report[name]['mAP']:.4f} ({report[name]['mAP'] - base['mAP']:+.4f}) "
            f"NDS {report[name]['NDS']:.4f}, {report[name]['boxes']} boxes"
        )
    print(f"written to {args.out}")


def variants(args: argparse.Namespace) -> Mapping[str, Callable[[], Inferencer]]:
    torch_model = (args.config, args.checkpoint)
    made = {
        "fp32, exact pixels": lambda: Inferencer(*torch_model, device="cpu"),
        "fp32, fast pixels": lambda: Inferencer(*torch_model, pixels="fast", device="cpu"),
        "bf16, exact pixels": lambda: Inferencer(*torch_model, device="cpu", precision="bf16"),
    }
    if args.exported:
        made["onnxruntime"] = lambda: Inferencer(args.exported, backend="onnx")
        made["OpenVINO bf16"] = lambda: Inferencer(
            args.exported, backend="openvino", precision="bf16"
        )
    return made


def scores(inferencer: Inferencer, dataset: Any, chosen: list[int], name: str) -> dict[str, Any]:
    """mAP, NDS and how many boxes there were."""
    predictions, boxes = {}, 0
    for index in tqdm(chosen, desc=name, unit="sample"):
        record = dataset.get_data_info(index)
        rig, images = rig_and_images(record)
        found = inferencer(images, rig).boxes
        array = np.nan_to_num(found.as_array())  # a model without velocities
        boxes += len(found)
        predictions[record["token"]] = results_from_boxes(
            array, found.scores, found.labels, token=record["token"],
            ego2global=record["ego2global"], classes=found.classes,
        )  # fmt: skip
    infos = {info["token"]: info for info in read_info_file(dataset.ann_file)["data_list"]}
    report = evaluate_detections(
        predictions,
        [infos[token] for token in predictions],
        classes=inferencer.description.classes,
        classes_present_only=True,
    )
    return dict(mAP=report["mAP"], NDS=report["NDS"], boxes=boxes)


def rig_and_images(record: Mapping[str, Any]) -> tuple[Rig, dict[str, str]]:
    """A sample's cameras as a rig, each posed as in the data set, and its images."""
    names = record["cam_names"]
    images = dict(zip(names, record["img_path"], strict=False))
    cameras = []
    for index, name in enumerate(names):
        width, height = image_size(images[name], name)
        K, pose = record["intrinsics"][0, index], record["ego_T_cam"][0, index]
        cameras.append(RigCamera(name, width, height, K, pose))
    return Rig(tuple(cameras)), images


if __name__ == "__main__":
    main()
