"""A rig: the cameras of one vehicle, where each is mounted and how it sees."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from bevdepth_plus.errors import DataError

# model -> how many coefficients it may have, in OpenCV's order
DISTORTION_MODELS = {"plumb_bob": (4, 5), "rational": (8, 12, 14), "fisheye": (4,)}


@dataclass(frozen=True)
class Distortion:
    """Lens distortion, as OpenCV and ROS define it.

    Attributes:
        model: ``plumb_bob`` (k1, k2, p1, p2[, k3]), ``rational`` (k1, k2, p1, p2, k3 .. k6[, ...])
            or ``fisheye`` (k1 .. k4, Kannala-Brandt; ROS: equidistant).
        coefficients: in that order.

    Raises:
        ValueError: the model is not known or takes another number of coefficients.
    """

    model: str
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        counts = DISTORTION_MODELS.get(self.model)
        if counts is None:
            known = ", ".join(DISTORTION_MODELS)
            raise ValueError(f"model must be one of {known}, got {self.model!r}")
        if len(self.coefficients) not in counts:
            raise ValueError(
                f"{self.model} takes {' or '.join(map(str, counts))} coefficients, got "
                f"{len(self.coefficients)}"
            )


@dataclass(frozen=True, eq=False)  # arrays have no equality that a dataclass could use
class RigCamera:
    """One camera of a rig.

    Attributes:
        name: channel, for example ``CAM_FRONT``.
        width, height: of the images as they come, pixels.
        intrinsics: ``[3, 3]`` float64, pixels of these images, pixel centres at integers + 0.5.
        ego_T_cam: ``[4, 4]`` float64; camera x right, y down, z forward.
        delay: seconds after the LiDAR's time stamp, or the rig's common trigger (negative: before).
        distortion: of the lens; None: the images are those of a pinhole camera.
        rectified_intrinsics: ``[3, 3]``, the pinhole camera's after undistortion; None: the same as
            ``intrinsics``. Without distortion it has no effect.
        rectification: ``[3, 3]``, rotation from this camera to the rectified one; None: none. Only
            the calibration of a stereo pair has it.
        image: pattern of its image files, relative to ``folder``.
        topic: ROS topic of its images.
        frame_id: ROS frame of its optical axes.
        body_mask: picture of the image's size, not 0 where the own vehicle's body is.
        folder: what relative paths are relative to.
    """

    name: str
    width: int
    height: int
    intrinsics: np.ndarray
    ego_T_cam: np.ndarray
    delay: float = 0.0
    distortion: Distortion | None = None
    rectified_intrinsics: np.ndarray | None = None
    rectification: np.ndarray | None = None
    image: str | None = None
    topic: str | None = None
    frame_id: str | None = None
    body_mask: Path | None = None
    folder: Path = field(default=Path())

    def __post_init__(self) -> None:
        for name, shape in (
            ("intrinsics", (3, 3)),
            ("ego_T_cam", (4, 4)),
            ("rectified_intrinsics", (3, 3)),
            ("rectification", (3, 3)),
        ):
            value = getattr(self, name)
            if value is None:
                continue
            matrix = np.array(value, dtype=np.float64)
            if matrix.shape != shape or not np.isfinite(matrix).all():
                raise ValueError(f"{self.name}: {name} must be {shape} finite numbers, got {value}")
            matrix.flags.writeable = False
            object.__setattr__(self, name, matrix)

    @property
    def forward(self) -> np.ndarray:
        """The optical axis in the ego frame, ``[3]``, unit length."""
        return self.ego_T_cam[:3, 2]

    @property
    def position(self) -> np.ndarray:
        """Metres in the ego frame, ``[3]``."""
        return self.ego_T_cam[:3, 3]

    def resized(self, width: int, height: int) -> RigCamera:
        """The same camera whose images were resized to ``width`` x ``height`` pixels."""
        scale = np.array([width / self.width, height / self.height, 1.0])[:, None]
        rectified = self.rectified_intrinsics
        return replace(
            self,
            width=width,
            height=height,
            intrinsics=self.intrinsics * scale,
            rectified_intrinsics=None if rectified is None else rectified * scale,
        )

    def image_files(self) -> list[Path]:
        """The files that ``image`` names, sorted by name.

        Raises:
            DataError: the camera has no pattern, or no file fits it.
        """
        if self.image is None:
            raise DataError(f"camera {self.name} has no image; add image: 'folder/*.jpg' to it")
        pattern = self.folder / self.image
        root = Path(pattern.anchor) if pattern.is_absolute() else Path()
        files = sorted(root.glob(str(pattern.relative_to(root))))
        if not files:
            raise DataError(
                f"camera {self.name}: no file fits image: {self.image!r} in "
                f"{self.folder.resolve()}; it is relative to the rig file"
            )
        return files


@dataclass(frozen=True, eq=False)
class Rig:
    """Cameras, and one LiDAR if there is one.

    The ego frame is x forward, y left, z up, its origin on the ground under the rear axle.

    Attributes:
        cameras: in the order of the rig file; their names differ.
        ego_T_lidar: ``[4, 4]`` float64, or None.
    """

    cameras: tuple[RigCamera, ...]
    ego_T_lidar: np.ndarray | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The cameras' names."""
        return tuple(camera.name for camera in self.cameras)

    def __getitem__(self, name: str) -> RigCamera:
        """The camera of that name.

        Raises:
            DataError: there is none.
        """
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise DataError(f"the rig has no camera {name!r}; it has {', '.join(self.names)}")

    def resized(self, width: int, height: int) -> Rig:
        """The rig with every camera's images resized to one size, pixels."""
        return replace(
            self, cameras=tuple(camera.resized(width, height) for camera in self.cameras)
        )
