"""The dataset: an info file's samples as camera rigs over time, with boxes in the ego frame."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from os import path as osp

import numpy as np
import torch
from mmdet3d.registry import DATASETS, TRANSFORMS
from mmdet3d.structures import LiDARInstance3DBoxes
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from bevdepth_plus.classes import CLASSES
from bevdepth_plus.datasets.ground_truth import is_hit, label_map
from bevdepth_plus.datasets.info_file import read_info_file
from bevdepth_plus.datasets.past_shots import link_shots, parse_shots
from bevdepth_plus.datasets.pipeline import steps
from bevdepth_plus.datasets.plain_pickle import collector_paused
from bevdepth_plus.datasets.sample_record import Record, link_frames, parse_sample
from bevdepth_plus.datasets.trainable import require_trainable
from bevdepth_plus.errors import DataError
from bevdepth_plus.geometry.boxes import transform_boxes
from bevdepth_plus.mmdet3d_boxes import to_mmdet3d


@DATASETS.register_module()
class NuScenesBEVDataset(BaseDataset):
    """Samples of a v1.1 info file for camera-only detection in the ego frame.

    A sample is N cameras at S key frames; all frames' cameras are placed in the ego frame of the
    key frame's LiDAR sweep. Samples without any object are kept.

    Args:
        ann_file: Info file; relative to ``data_root``.
        data_root: Root of the data set.
        data_prefix: Folders below ``data_root``: ``pts`` for LiDAR, a camera's name for its images
            and ``img`` for cameras not named. Default: nuScenes' own ``samples/CHANNEL``.
        pipeline: Transforms.
        metainfo: ``classes`` that the model knows, in the order of its labels; default: the ten of
            nuScenes. ``ignored_classes``: classes of the info file to leave out. Every category of
            the file with a label >= 0 must be in one of the two.
        test_mode: Keep boxes that no sensor point hit (training drops them).
        num_frames: S; frame 0 is the key frame, the others are the key frames before it.
        frame_interval: Seconds from one frame to the next; past frames are then the cameras' shots
            nearest to these times, key frames or sweeps between them (``tools/create_data.py
            --sweeps``). Default: the key frames.
        camera_names: Cameras to use, in this order; one that a sample lacks counts as out there
            (``camera_mask``). Default: all that the file names.
        min_lidar_points: In training a box needs this many LiDAR and radar points together, as in
            the official recipe; a box whose count is unknown (absent or -1) is kept.
        unknown_velocity: What the velocity of an object seen in one key frame is.
            ``"masked"``: NaN, which the losses leave out. ``"zero"``: 0, as the official recipe
            teaches it.
        indices: Take only these samples (an int: the first so many), see ``BaseDataset``.
        serialize_data: Keep samples pickled, which workers share without copying.
        lazy_init: See ``BaseDataset``.

    Raises:
        DataError: If the info file, a calibration or a class name cannot be used, or there is
            nothing to train on.
    """

    METAINFO = {"dataset": "nuscenes", "classes": CLASSES}

    def __init__(
        self,
        ann_file: str,
        data_root: str = "",
        data_prefix: Mapping[str, str] | None = None,
        pipeline: Sequence[dict | Callable] | Mapping[str, dict | None] = (),
        metainfo: Mapping | None = None,
        test_mode: bool = False,
        num_frames: int = 1,
        frame_interval: float | None = None,
        camera_names: Sequence[str] | None = None,
        min_lidar_points: int = 1,
        unknown_velocity: str = "masked",
        indices: int | Sequence[int] | None = None,
        serialize_data: bool = True,
        lazy_init: bool = False,
    ) -> None:
        if num_frames < 1:
            raise ValueError(f"num_frames must be 1 or more, got {num_frames}")
        if unknown_velocity not in ("masked", "zero"):
            raise ValueError(
                f"unknown_velocity must be 'masked' or 'zero', got {unknown_velocity!r}"
            )
        if frame_interval is not None and not frame_interval > 0:
            raise ValueError(f"frame_interval must be more than 0 s, got {frame_interval}")
        self.num_frames = num_frames
        self.frame_interval = frame_interval
        self.camera_names = list(camera_names) if camera_names is not None else None
        self.min_lidar_points = min_lidar_points
        self.unknown_velocity = unknown_velocity
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=dict(data_prefix or {}),
            indices=indices,
            serialize_data=serialize_data,
            # Built here: mmengine's Compose finds mmdet3d's transforms only within a default scope.
            pipeline=[
                TRANSFORMS.build(t) if isinstance(t, Mapping) else t for t in steps(pipeline)
            ],
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    def load_data_list(self) -> list[Record]:
        """Reads, checks and packs all samples; see ``sample_record`` for a record's keys."""
        with collector_paused():
            content = read_info_file(self.ann_file)
            self._metainfo.setdefault("version", content["metainfo"].get("version"))
            return self._records(content)

    def get_data_info(self, idx: int) -> dict:
        """One sample, before the pipeline.

        Returns:
            ``token, sample_idx, scene_token, timestamp, cam_names`` (N), ``lidar_path`` (None
            without a sweep), ``num_pts_feats``, ``img_path`` (S * N, frame-major; None for a camera
            that the sample lacks); float64 arrays ``ego2global, lidar2ego`` [4, 4],
            ``intrinsics`` [S, N, 3, 3], ``ego_T_cam`` [S, N, 4, 4], ``image_aug`` [S, N, 3, 3]
            and ``bev_aug`` [4, 4] (identities), ``time_offset`` [S] (s, zero or negative),
            ``key_T_lidar`` [S, 4, 4] (each frame's LiDAR -> key ego); ``frame_lidar_path`` (S; None
            where a frame has no sweep, does not exist, or lies at a ``frame_interval``);
            ``frame_mask`` [S] bool, False where the frame does not exist; ``camera_mask`` [S, N]
            bool, False where a sample lacks the camera (see also ``DropCameras``); ``num_frames``
            S; ``box_type_3d``; ``map_layer_paths``, layer -> mask file; ``ann_info``:
            ``gt_bboxes_3d`` (nine numbers, in the ego frame, an unknown velocity NaN) and
            ``gt_labels_3d``.
        """
        info = super().get_data_info(idx)
        info["num_frames"] = self.num_frames
        info["image_aug"] = np.tile(np.eye(3), (*info["intrinsics"].shape[:2], 1, 1))
        info["bev_aug"] = np.eye(4)
        info["box_type_3d"] = LiDARInstance3DBoxes
        info["map_layer_paths"] = {
            layer: osp.join(self.data_root, file) for layer, file in info.pop("map_layers").items()
        }
        del info["labelled"]
        boxes, labels = info.pop("boxes"), info.pop("labels")
        if self.unknown_velocity == "zero":
            boxes[:, 7:] = np.nan_to_num(boxes[:, 7:], nan=0.0)
        keep = self._used(labels, info.pop("num_points"))
        in_ego = transform_boxes(torch.from_numpy(boxes[keep]), torch.from_numpy(info["lidar2ego"]))
        info["ann_info"] = {
            "gt_bboxes_3d": to_mmdet3d(in_ego),
            "gt_labels_3d": labels[keep],
        }
        return info

    def get_cat_ids(self, idx: int) -> set[int]:
        """Labels of the boxes one sample trains on; what mmdet3d's ``CBGSDataset`` balances."""
        info = super().get_data_info(idx)
        return set(info["labels"][self._used(info["labels"], info["num_points"])].tolist())

    def _used(self, labels: np.ndarray, num_points: np.ndarray) -> np.ndarray:
        used = labels >= 0
        return used if self.test_mode else used & is_hit(num_points, self.min_lidar_points)

    def _records(self, content: Mapping) -> list[Record]:
        infos = content["data_list"]
        labels = label_map(
            content["metainfo"]["categories"],
            self._metainfo["classes"],
            self._metainfo.get("ignored_classes", ()),
            where=f"{self.ann_file}: metainfo.categories",
        )
        first_of: dict[str, Mapping] = {}  # camera -> its entry in the first sample that has it
        for info in infos:
            first_of = {**info["images"], **first_of}
        camera_names = self.camera_names or list(first_of)
        if not camera_names:
            raise DataError(f"{self.ann_file}: sample {infos[0]['token']} has no camera")
        folders = {name: self.folder(name) for name in camera_names}
        records = [
            parse_sample(info, camera_names, labels, folders, self.folder("pts"), first_of)
            for info in infos
        ]
        by_token = {record["token"]: record for record in records}
        self._say(self._notes(records, by_token))
        if self.frame_interval is None or self.num_frames == 1:
            return [link_frames(record, by_token, self.num_frames) for record in records]
        shots = {
            record["token"]: parse_shots(info, record, self.data_root)
            for record, info in zip(records, infos, strict=True)
        }
        return [
            link_shots(record, by_token, shots, self.num_frames, self.frame_interval)
            for record in records
        ]

    def _notes(self, records: Sequence[Record], by_token: Mapping[str, Record]) -> list[str]:
        """What is odd about the records without being wrong; refuses to train on nothing."""
        notes = []
        if not self.test_mode:
            notes += require_trainable(
                records, self._metainfo["classes"], self.min_lidar_points, str(self.ann_file)
            )
        lacking = [record["token"] for record in records if not record["cameras_present"].all()]
        if lacking:
            notes.append(
                f"{len(lacking)} of {len(records)} samples lack a camera, first sample "
                f"{lacking[0]}; it counts as out there"
            )
        if self.num_frames == 1:
            return notes
        chained = [record["prev"] for record in records if record["prev"] is not None]
        if not chained:
            notes.append(
                f"no sample says which key frame precedes it (prev): all {self.num_frames - 1} "
                "past frames repeat the key frame; tools/create_data.py writes the chain"
            )
        lost = [token for token in chained if token not in by_token]
        if lost:
            notes.append(
                f"{len(lost)} of {len(chained)} past key frames are not in the file, first "
                f"{lost[0]}; the key frame stands in for them"
            )
        return notes

    def _say(self, notes: Sequence[str]) -> None:
        if notes:
            message = f"{self.ann_file}: {'; '.join(notes)}"
            print_log(message, logger="current", level=logging.WARNING)

    def folder(self, channel: str) -> str:
        """Where the files of a camera, or of the LiDAR (`pts`), lie."""
        if channel in self.data_prefix:
            return self.data_prefix[channel]
        if channel != "pts" and "img" in self.data_prefix:
            return self.data_prefix["img"]
        return osp.join(self.data_root, "samples", "LIDAR_TOP" if channel == "pts" else channel)
