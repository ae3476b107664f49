"""Makes a whole data set: spreads key frames over processes, resumes, writes tables last."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tqdm import tqdm

from bevdepth_plus.errors import DataError
from bevdepth_plus.files import write_json
from bevdepth_plus.rigs.rig import Rig
from bevdepth_plus.synthetic.keyframe import shoot_keyframe
from bevdepth_plus.synthetic.rig import nuscenes_rig, rendered_rig
from bevdepth_plus.synthetic.studio import Studio
from bevdepth_plus.synthetic.sweeps import Sweeps, shoot_sweeps
from bevdepth_plus.synthetic.write import scene_tables, write_tables

GENERATION = 1  # raise it when the same settings would give other bytes
MAX_KEYFRAMES = 100
SPLITS = {"v1.0-mini": ("mini_train", "mini_val"), "v1.0-trainval": ("train", "val")}
_STATE = ".scenes"  # settings and finished scenes, below the data root


@dataclass(frozen=True)
class Settings:
    """What decides the bytes of a scene.

    Attributes:
        seed: of everything random.
        keyframes: per scene.
        rig: ``nuscenes`` or the path of a rig file.
        image_size: (width, height) of every camera; None keeps each camera's own.
        depth: whether exact depth pictures are written too.
        sweeps: pictures between the key frames; None: there are none.
    """

    seed: int
    keyframes: int
    rig: str
    image_size: tuple[int, int] | None
    depth: bool
    sweeps: Sweeps | None = None

    def load_rig(self) -> Rig:
        """The rig these settings name."""
        if self.rig == "nuscenes":
            return nuscenes_rig(self.image_size)
        return rendered_rig(self.rig, self.image_size)

    def fingerprint(self) -> dict[str, object]:
        """What must be equal for two runs to give the same bytes, by option."""
        rig = self.load_rig()
        parts = [rig.ego_T_lidar.tolist()]
        parts += [
            [c.name, c.width, c.height, c.intrinsics.tolist(), c.ego_T_cam.tolist(), c.delay]
            for c in rig.cameras
        ]
        # Without sweeps there is no word of them: folders of earlier versions go on.
        video = {}
        if self.sweeps is not None:
            names = [camera.name for camera in self.sweeps.of(rig)]
            video = {"--sequence-rate": self.sweeps.rate, "--sweep-cameras": names}
        rig_hash = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        return {
            "generation": GENERATION,
            "--seed": self.seed,
            "--keyframes": self.keyframes,
            "--depth": self.depth,
            "--rig or --image-size": rig_hash,
            **video,
        }


def scene_names(version: str, train_scenes: int, val_scenes: int) -> list[str]:
    """The first scenes of the devkit's own split of this version.

    Raises:
        DataError: an unknown version, or more scenes than the split has.
    """
    from nuscenes.utils.splits import create_splits_scenes

    if version not in SPLITS:
        raise DataError(f"--version: expected one of {', '.join(SPLITS)}, got {version}")
    splits = create_splits_scenes()
    names: list[str] = []
    for split, count, option in zip(
        SPLITS[version], (train_scenes, val_scenes), ("--train-scenes", "--val-scenes"), strict=True
    ):
        if not 0 <= count <= len(splits[split]):
            raise DataError(
                f"{option}: {version} holds 0 to {len(splits[split])} scenes in "
                f"{split}, got {count}"
            )
        names += splits[split][:count]
    if not names:
        raise DataError("--train-scenes, --val-scenes: at least one scene is needed, got 0 and 0")
    return names


def make_dataset(
    out: Path, version: str, names: list[str], settings: Settings, workers: int = 1
) -> int:
    """Makes the data set, going on with what an earlier run finished.

    Args:
        out: its root folder.
        version: nuScenes version, the name of the tables' folder.
        names: scene names.
        settings: what decides the bytes.
        workers: processes that render.

    Returns:
        How many key frames were rendered now, each with the sweeps before it.

    Raises:
        DataError: bad settings, or ``out`` holds something else.
    """
    if not 1 <= settings.keyframes <= MAX_KEYFRAMES:
        raise DataError(f"--keyframes: expected 1 to {MAX_KEYFRAMES}, got {settings.keyframes}")
    rig = settings.load_rig()
    if settings.sweeps is not None:
        settings.sweeps.check(rig, settings.keyframes)
    state = _claim(out, settings)
    missing = [n for n in names if not (state / f"{n}.json").exists()]
    tasks = [
        (name, index, settings, str(out)) for name in missing for index in range(settings.keyframes)
    ]
    shots: list[dict] = []
    with tqdm(total=len(tasks), unit="key frame", disable=not tasks) as bar:
        for records in _rendered(tasks, workers):
            shots.append(records)
            bar.update()
            if len(shots) == settings.keyframes:
                name = missing.pop(0)
                studio = _studio(name, settings)
                write_json(state / f"{name}.json", scene_tables(studio, shots, out))
                shots = []
    scenes = [json.loads((state / f"{n}.json").read_text()) for n in names]
    write_tables(out, version, scenes, [*(c.name for c in rig.cameras), "LIDAR_TOP"])
    return len(tasks)


def _claim(out: Path, settings: Settings) -> Path:
    """Makes sure that the folder is ours and of the same settings; returns the state folder."""
    state = out / _STATE
    note = state / "settings.json"
    if note.exists():
        made, wanted = json.loads(note.read_text()), settings.fingerprint()
        differing = [key for key in {**wanted, **made} if made.get(key) != wanted.get(key)]
        if differing:
            raise DataError(
                f"{out}: holds a data set made with other settings "
                f"({', '.join(differing)}); choose another folder or delete this one"
            )
        return state
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            f"{out}: is not an empty folder and holds no synthetic data set; choose another folder"
        )
    try:
        state.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"{out}: cannot create the folder ({error.strerror})") from None
    write_json(note, settings.fingerprint())
    return state


def _rendered(tasks: list[tuple], workers: int) -> Iterator[dict]:
    """Records of every task, in order."""
    if workers <= 1 or len(tasks) <= 1:
        yield from map(_shoot, tasks)
        return
    yield _shoot(tasks[0])  # compiles here, so that the workers find it in numba's cache
    context = multiprocessing.get_context("spawn")
    # Ctrl-C reaches the workers too; only this process should speak up
    with context.Pool(
        min(workers, len(tasks) - 1), signal.signal, (signal.SIGINT, signal.SIG_IGN)
    ) as pool:
        yield from pool.imap(_shoot, tasks[1:])


def _shoot(task: tuple[str, int, Settings, str]) -> dict:
    name, index, settings, out = task
    studio = _studio(name, settings)
    records = shoot_keyframe(studio, index, Path(out), settings.depth)
    if settings.sweeps is not None:
        shoot_sweeps(studio, settings.sweeps, index, Path(out), settings.depth, records)
    return records


@lru_cache(maxsize=1)
def _studio(name: str, settings: Settings) -> Studio:
    return Studio.open(name, settings.seed, settings.keyframes, settings.load_rig())
