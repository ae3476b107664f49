"""Video: the cameras' pictures between the key frames, which nuScenes calls sweeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.rig import Rig, RigCamera
from bevdepth_plus.synthetic.scene import KEYFRAME_PERIOD
from bevdepth_plus.synthetic.shots import shoot_camera
from bevdepth_plus.synthetic.studio import Studio

KEYFRAME_RATE = round(1 / KEYFRAME_PERIOD)  # Hz
MAX_RATE = 60  # Hz; cameras of vehicles are slower


@dataclass(frozen=True)
class Sweeps:
    """Which pictures stand between the key frames.

    Attributes:
        rate: pictures of a camera a second, key frames included: a multiple of 2 Hz.
        cameras: that shoot at this rate; None: all of the rig.
    """

    rate: float
    cameras: tuple[str, ...] | None = None

    def check(self, rig: Rig, keyframes: int) -> None:
        """Refuses what cannot be rendered.

        Raises:
            DataError: no such rate or camera, or no two key frames to be between.
        """
        if not KEYFRAME_RATE < self.rate <= MAX_RATE or self.rate % KEYFRAME_RATE:
            raise DataError(
                f"--sequence-rate: expected a multiple of {KEYFRAME_RATE} Hz from "
                f"{2 * KEYFRAME_RATE} to {MAX_RATE}, got {self.rate:g}"
            )
        if keyframes < 2:
            raise DataError(
                "--sequence-rate: sweeps stand between key frames; give --keyframes 2 or more, "
                f"got {keyframes}"
            )
        names = [camera.name for camera in rig.cameras]
        unknown = [name for name in self.cameras or () if name not in names]
        if unknown or self.cameras == ():
            raise DataError(
                f"--sweep-cameras: the rig has no camera {', '.join(unknown) or '(none named)'}; "
                f"it has {', '.join(names)}"
            )

    def of(self, rig: Rig) -> list[RigCamera]:
        """The cameras that shoot sweeps, in the rig's order."""
        return [c for c in rig.cameras if self.cameras is None or c.name in self.cameras]

    def times_before(self, index: int) -> Sequence[float]:
        """Scene times (s) after key frame ``index - 1`` and before key frame ``index``."""
        if index == 0:
            return []
        start = (index - 1) * KEYFRAME_PERIOD
        return [start + k / self.rate for k in range(1, round(self.rate * KEYFRAME_PERIOD))]


def shoot_sweeps(
    studio: Studio, sweeps: Sweeps, index: int, out: Path, depth: bool, records: dict
) -> None:
    """Renders the sweeps before key frame ``index`` and adds their rows to its records.

    Args:
        studio: the scene.
        sweeps: which to render.
        index: of the key frame that follows them; before the first one there are none.
        out: root of the data set.
        depth: whether exact depth pictures are written too.
        records: what ``shoot_keyframe`` returned for this key frame.
    """
    for t in sweeps.times_before(index):
        for camera in sweeps.of(studio.rig):
            shoot_camera(studio, camera, None, t, out, depth, records)
