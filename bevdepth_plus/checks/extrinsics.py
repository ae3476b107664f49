"""Are the extrinsics of an info file right? Found from images alone, said in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bevdepth_plus.evaluation.tables import text_grid
from bevdepth_plus.pointmaps.calibration_pairs import (
    PairSettings,
    ShotPair,
    choose_pairs,
    match_pairs,
    one_calibration,
)
from bevdepth_plus.pointmaps.drives import drives_of_file
from bevdepth_plus.pointmaps.extrinsic_error import (
    ANGLES,
    AXES,
    CameraError,
    ExtrinsicErrors,
    estimate_extrinsic_errors,
)
from bevdepth_plus.pointmaps.two_view import TwoViewModel

DEGREES, METRES = 0.3, 0.05  # errors above them are named
NOT_SEEN = "-"


@dataclass(frozen=True)
class ExtrinsicCheck:
    """Errors of all cameras, and what they rest on.

    Attributes:
        cameras: names, in the order of the errors.
        errors: true minus stated.
        drives, left_out: that took part, and that have other extrinsics.
        pairs: of images.
    """

    cameras: tuple[str, ...]
    errors: ExtrinsicErrors
    drives: int
    left_out: int
    pairs: int

    def table(self) -> str:
        """A line a camera; what no match shows is a dash."""
        units = [f"{name} [deg]" for name in ANGLES] + [f"{name} [m]" for name in AXES]
        rows = [["camera", *units, "matches"]]
        for name, error in zip(self.cameras, self.errors.cameras, strict=True):
            rows.append([name, *_cells(error), str(error.num_matches)])
        rests = f"{self.pairs} image pairs of {self.drives} drives"
        if self.left_out:
            rests += f" ({self.left_out} drives have other extrinsics and were left out)"
        fit = f"matches lie {self.errors.sigma:.2f} network pixels beside their lines"
        return "\n".join([text_grid(rows, rules=(1,)), f"{rests}; {fit}"])

    def problems(self) -> list[str]:
        """A line for each camera whose extrinsics are wrong beyond doubt."""
        lines = []
        for name, error in zip(self.cameras, self.errors.cameras, strict=True):
            wrong = _wrong_axes(error)
            if wrong:
                lines.append(
                    f"{name}: {', '.join(wrong)}: turn and move the stated extrinsics by that much "
                    "(ego axes: x forward, y left, z up), or calibrate this camera anew"
                )
        return lines


def check_extrinsics(
    infos: Path,
    model: TwoViewModel,
    settings: PairSettings | None = None,
    images: str = "samples/{camera}",
    progress: Callable[[Sequence[ShotPair]], Iterable[ShotPair]] = iter,
) -> ExtrinsicCheck:
    """Estimate each camera's extrinsic error from matches over time and between neighbours.

    Args:
        infos: info file.
        images: folder of a camera's images, beside the info file.
        progress: goes through the pairs, as a progress bar does.

    Raises:
        DataError: the network has no descriptors, images are missing or damaged, or too little is
            matched.
    """
    settings = settings or PairSettings()
    everything = drives_of_file(infos, images=images)
    drives = one_calibration(everything)
    pairs = choose_pairs(drives, settings)
    matches = match_pairs(model, progress(pairs), settings)
    cameras = drives[0].cameras
    mounts = np.stack([shot.ego_T_cam for shot in drives[0].shots[: len(cameras)]])
    errors = estimate_extrinsic_errors(matches, mounts[:, :3, :3])
    left_out = len(everything) - len(drives)
    return ExtrinsicCheck(cameras, errors, len(drives), left_out, len(pairs))


def _values(error: CameraError) -> tuple[np.ndarray, np.ndarray]:
    """Rotation in degrees and translation in metres with standard deviations, ``[6]`` each."""
    return (
        np.concatenate([error.rotation, error.translation]),
        np.concatenate([error.rotation_sd, error.translation_sd]),
    )


def _cells(error: CameraError) -> Sequence[str]:
    return [
        f"{value:+.2f} +- {sd:.2f}" if seen else NOT_SEEN
        for value, sd, seen in zip(*_values(error), error.observable, strict=True)
    ]


def _wrong_axes(error: CameraError) -> list[str]:
    """``yaw is off by +1.02 +- 0.05 degrees`` and the like, if anything is."""
    value, sd = _values(error)
    names, units = (*ANGLES, *AXES), ["degrees"] * 3 + ["m"] * 3
    return [
        f"{names[i]} is off by {value[i]:+.2f} +- {sd[i]:.2f} {units[i]}"
        for i in error.wrong_axes(DEGREES, METRES).nonzero()[0]
    ]
