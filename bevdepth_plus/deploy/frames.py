"""Which images of a stream belong to one frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

MISSING_FRAMES = 3  # so many frames in a row without an image, then frames stop waiting for it


@dataclass
class Frame(Generic[T]):
    """The images of one turn of the rig.

    Attributes:
        items: camera -> what came of its image.
        stamps: camera -> seconds.
        bad: camera -> why its image of this turn cannot be used.
    """

    items: dict[str, T] = field(default_factory=dict)
    stamps: dict[str, float] = field(default_factory=dict)
    bad: dict[str, str] = field(default_factory=dict)

    @property
    def first(self) -> float:
        return min(self.stamps.values())

    @property
    def stamp(self) -> float:
        """The frame's time: that of its newest image."""
        return max(self.stamps.values())


class FrameAssembler(Generic[T]):
    """Collects images until a frame is complete.

    A frame is complete when each camera has spoken that is expected to; it also ends when an image
    comes more than ``window`` after its first, or a second one of the same camera. A camera that
    was missing from ``MISSING_FRAMES`` frames in a row is not waited for until it speaks again.

    Args:
        cameras: names of the rig's cameras.
        window: longest time from the first to the last image of a frame, seconds.
    """

    def __init__(self, cameras: Iterable[str], window: float) -> None:
        self.window = window
        self.missed = dict.fromkeys(cameras, 0)  # frames in a row
        self.frame: Frame[T] = Frame()

    def set_cameras(self, cameras: Iterable[str]) -> None:
        """The cameras from now on; what was collected of others is dropped."""
        self.missed = {name: self.missed.get(name, 0) for name in cameras}
        for part in (self.frame.items, self.frame.stamps, self.frame.bad):
            for name in set(part) - set(self.missed):
                del part[name]

    def ends_frame(self, camera: str, stamp: float) -> bool:
        """Whether an image of this time belongs to the frame after the one being collected."""
        if not self.frame.stamps:
            return False
        return camera in self.frame.stamps or stamp - self.frame.first > self.window

    def add(self, camera: str, stamp: float, item: T | None, reason: str = "") -> None:
        """Add an image's outcome; None: it cannot be used, for this reason."""
        self.frame.stamps[camera] = stamp
        if item is None:
            self.frame.bad[camera] = reason
        else:
            self.frame.items[camera] = item

    def is_complete(self) -> bool:
        awaited = {name for name, missed in self.missed.items() if missed < MISSING_FRAMES}
        return bool(self.frame.stamps) and awaited <= set(self.frame.stamps)

    def take(self) -> Frame[T]:
        """The frame as collected; the next one starts empty."""
        frame, self.frame = self.frame, Frame()
        for name in self.missed:
            self.missed[name] = 0 if name in frame.stamps else self.missed[name] + 1
        return frame

    def clear(self) -> None:
        self.frame = Frame()
        self.missed = dict.fromkeys(self.missed, 0)
