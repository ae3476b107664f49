"""Is a rig plausible? What a file's reader accepts can still be a mistake of units or axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from bevdepth_plus.rigs.distortion import fold, rectified
from bevdepth_plus.rigs.poses import EGO_R_CAM, angles_of, pose_problem
from bevdepth_plus.rigs.rig import Rig, RigCamera

FARTHEST = 20.0  # metres from the rear axle; a camera beyond is in other units
HEIGHTS = (0.2, 6.0)  # metres above the ground: a bumper, the roof of a truck
FIELD_OF_VIEW = (15.0, 150.0)  # degrees, horizontal, of a pinhole
FISHEYE_FIELD_OF_VIEW = (60.0, 230.0)
MOST_ROLL = 45.0  # degrees
SIDES = {"front": (0, 1), "back": (0, -1), "rear": (0, -1), "left": (1, 1), "right": (1, -1)}


@dataclass(frozen=True)
class Problem:
    """One implausible value.

    Attributes:
        camera: its name, or ``rig``.
        field: of the rig file.
        value: what stands there, short.
        remedy: what it looks like, and what to do.
    """

    camera: str
    field: str
    value: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.camera}: {self.field} {self.value}: {self.remedy}"


def check_rig(rig: Rig) -> list[Problem]:
    """What is implausible in a rig; empty if nothing is."""
    problems = [problem for camera in rig.cameras for problem in _camera(camera)]
    sound = [camera for camera in rig.cameras if not pose_problem(camera.ego_T_cam)]
    return [*problems, *_radians(sound), *_ground(sound), *_twins(sound)]


def elevations(camera: RigCamera) -> tuple[float, float]:
    """The least and the most elevation, degrees, that the middle column of the image sees."""
    pinhole = rectified(camera)
    matrix = pinhole.intrinsics
    rows = np.array([0.0, pinhole.height])
    rays = np.stack(
        [
            np.full(2, (pinhole.width / 2 - matrix[0, 2]) / matrix[0, 0]),
            (rows - matrix[1, 2]) / matrix[1, 1],
            np.ones(2),
        ],
        axis=1,
    )
    up = rays @ pinhole.ego_T_cam[2, :3] / np.linalg.norm(rays, axis=1)
    low, high = np.sort(np.degrees(np.arcsin(np.clip(up, -1, 1))))
    return float(low), float(high)


def field_of_view(camera: RigCamera) -> float:
    """Horizontal, degrees, of the raw image: r = f tan(a), or r = f a of a fisheye lens."""
    focal = camera.intrinsics[0, 0]
    edges = np.array([camera.intrinsics[0, 2], camera.width - camera.intrinsics[0, 2]]) / focal
    fisheye = camera.distortion is not None and camera.distortion.model == "fisheye"
    return float(np.degrees(edges if fisheye else np.arctan(edges)).sum())


def _camera(camera: RigCamera) -> Iterator[Problem]:
    lens = list(_intrinsics(camera))
    yield from lens
    turn = fold(camera)
    if turn is not None:
        yield Problem(
            camera.name,
            "distortion",
            f"folds over {turn:.0f} pixels from the principal point, inside the image",
            "the coefficients hold for a part of it only; calibrate with the board at the borders, "
            "or is it another model?",
        )
    problem = pose_problem(camera.ego_T_cam)
    if problem:
        value, _, remedy = problem.partition(": ")
        yield Problem(camera.name, "ego_T_cam", value, remedy)
        return
    yield from _position(camera)
    yield from _direction(camera, knows_rows=not lens and turn is None)


def _intrinsics(camera: RigCamera) -> Iterator[Problem]:
    size = np.array([camera.width, camera.height])
    focal, centre = camera.intrinsics[[0, 1], [0, 1]], camera.intrinsics[:2, 2]
    shares = centre / size
    if not ((shares > 0.25) & (shares < 0.75)).all():
        turned = centre / size[::-1]
        swapped = ((turned > 0.35) & (turned < 0.65)).all()
        yield Problem(
            camera.name,
            "cx, cy",
            f"({centre[0]:.0f}, {centre[1]:.0f}) far from the middle of {size[0]} x {size[1]}",
            f"width and height are swapped: write width {size[1]}, height {size[0]}"
            if swapped
            else "was the image resized or cropped after calibration? scale cx and cy, fx and fy",
        )
    if abs(focal[0] / focal[1] - 1) > 0.05:
        yield Problem(
            camera.name,
            "fx, fy",
            f"({focal[0]:.1f}, {focal[1]:.1f}) differ",
            "was the image resized in one direction? then scale the focal length of that direction",
        )
    fisheye = camera.distortion is not None and camera.distortion.model == "fisheye"
    least, most = FISHEYE_FIELD_OF_VIEW if fisheye else FIELD_OF_VIEW
    view = field_of_view(camera)
    if not least < view < most:
        yield Problem(
            camera.name,
            "fx",
            f"{focal[0]:.1f} means a field of view of {view:.0f} degrees",
            f"expected {least:g} to {most:g}; fx is in pixels of a {size[0]} pixels wide image, "
            "not millimetres, nor pixels of another size",
        )


def _position(camera: RigCamera) -> Iterator[Problem]:
    position = camera.position
    farthest = np.abs(position).max()
    shown = f"[{position[0]:g}, {position[1]:g}, {position[2]:g}]"
    if farthest > FARTHEST:
        unit = "millimetres" if farthest > 300 else "centimetres"
        yield Problem(
            camera.name,
            "position",
            f"{shown} is {farthest:g} m away",
            f"{unit}? positions are metres from the rear axle on the ground",
        )
    elif position[2] <= 0:
        yield Problem(
            camera.name,
            "position",
            f"{shown} is below the ground",
            "z counts up from the ground; is the ego frame elsewhere, or the pose inverted?",
        )


def _direction(camera: RigCamera, knows_rows: bool) -> Iterator[Problem]:
    yaw, pitch, roll = angles_of(camera.ego_T_cam[:3, :3] @ EGO_R_CAM.T)
    shown = f"(yaw {yaw:.1f}, pitch {pitch:.1f}, roll {roll:.1f} degrees)"
    low, high = elevations(camera)
    if abs(camera.forward[2]) < np.cos(np.radians(10)) and abs(roll) > MOST_ROLL:
        way = "upside down" if abs(roll) > 180 - MOST_ROLL else "on its side"
        yield Problem(
            camera.name,
            "roll",
            f"{roll:.1f} degrees: lies {way} {shown}",
            "camera axes are x right, y down, z forward; are they another frame's (ROS body axes), "
            "the quaternion's order not w x y z, or are the images turned?",
        )
    elif knows_rows and (high < 0 or low > 0):
        where, edge = ("ground", high) if high < 0 else ("sky", low)
        yield Problem(
            camera.name,
            "pitch",
            f"{pitch:.1f} degrees: looks into the {where} alone, no row shows the horizon "
            f"(nearest {edge:.0f} degrees)",
            "pitch counts down in degrees; is the pose inverted, of ROS body axes, or its "
            "quaternion's order not w x y z?",
        )
    else:
        yield from _named_side(camera, yaw)


def _named_side(camera: RigCamera, yaw: float) -> Iterator[Problem]:
    for word in camera.name.lower().split("_"):
        axis, sign = SIDES.get(word, (0, 0))
        if camera.forward[axis] * sign < -0.7:
            yield Problem(
                camera.name,
                "yaw",
                f"{yaw:.1f} degrees looks {_side(camera.forward)}, not {word}",
                "yaw counts to the left in degrees, 0 is ahead; is y of the ego frame to the "
                "right, or the pose inverted?",
            )
            return


def _side(forward: np.ndarray) -> str:
    if abs(forward[0]) > abs(forward[1]):
        return "ahead" if forward[0] > 0 else "back"
    return "left" if forward[1] > 0 else "right"


def _radians(cameras: Sequence[RigCamera]) -> Iterator[Problem]:
    yaws = [angles_of(c.ego_T_cam[:3, :3] @ EGO_R_CAM.T)[0] for c in cameras]
    if len(yaws) > 1 and max(map(abs, yaws)) <= 2 * np.pi + 0.01 and np.ptp(yaws) >= 0.5:
        shown = ", ".join(f"{yaw:.3g}" for yaw in yaws)
        yield Problem(
            "rig",
            "yaw",
            f"of all cameras within 6.3 degrees ({shown})",
            "radians? the rig file takes degrees: multiply by 57.2958",
        )


def _ground(cameras: Sequence[RigCamera]) -> Iterator[Problem]:
    heights = [c.position[2] for c in cameras if 0 < c.position[2] <= FARTHEST]
    if not heights or HEIGHTS[0] <= np.median(heights) <= HEIGHTS[1]:
        return
    yield Problem(
        "rig",
        "position",
        f"puts the cameras {min(heights):.2f} to {max(heights):.2f} m above the ground",
        "the ego frame's origin must lie on the ground under the rear axle, not in a sensor: add "
        "its height to every z",
    )


def _twins(cameras: Sequence[RigCamera]) -> Iterator[Problem]:
    for one, other in combinations(cameras, 2):
        if np.abs(one.ego_T_cam - other.ego_T_cam).max() < 1e-4:
            yield Problem(
                other.name,
                "position",
                f"and direction are those of {one.name}",
                "copied? give each camera its own pose",
            )
