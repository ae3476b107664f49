"""What every source returns: the images of a rig, moment by moment, and the ego poses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from bevdepth_plus.deploy.streaming import ImageMessage, PoseMessage
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.rig import Rig

FAR = 10.0  # seconds: poses farther from the first image than this are of another clock


@dataclass(frozen=True, eq=False)
class Moment:
    """The images of one turn of the rig.

    Attributes:
        images: in the order of their times; a camera that gave none is absent.
        token: its name in a data set.
    """

    images: tuple[ImageMessage, ...]
    token: str | None = None

    @property
    def stamp(self) -> float:
        """Time of its newest image, seconds."""
        return max(image.stamp for image in self.images)


@dataclass(frozen=True, eq=False)
class Drive:
    """What a vehicle's cameras recorded.

    Attributes:
        rig: the cameras.
        moments: in the order of time; each loop over them begins anew.
        count: how many moments there are; None: known at the end only.
        window: longest time from the first to the last image of a moment, seconds.
        poses: of the ego vehicle, in the order of time; none: not known.
        notes: what the user should know, one line each.
    """

    rig: Rig
    moments: Iterable[Moment]
    count: int | None
    window: float
    poses: tuple[PoseMessage, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def with_poses(self, poses: tuple[PoseMessage, ...]) -> Drive:
        """The same with ego poses, which are in the order of time.

        Raises:
            DataError: the first image is far outside their time.
        """
        start = next(iter(self.moments)).stamp
        first, last = poses[0].stamp, poses[-1].stamp
        if not first - FAR <= start <= last + FAR:
            raise DataError(
                f"the poses are of {first:.3f} to {last:.3f} s and the first images of "
                f"{start:.3f} s: they need one clock (with --fps and --video, the first image is "
                "at 0 s)"
            )
        return replace(self, poses=poses)


def only_cameras(rig: Rig, names: list[str] | None) -> Rig:
    """The rig with these cameras alone; None: all.

    Raises:
        DataError: it lacks one of them.
    """
    if names is None:
        return rig
    for name in names:
        rig[name]  # raises where the rig has no such camera
    return replace(rig, cameras=tuple(each for each in rig.cameras if each.name in names))
