"""Detection in a stream: images and ego poses come in, in any order; results come out.

The image part of a camera runs when its image arrives. The depth and context of past frames are
kept and pooled again at the pose they have in the new key frame's ego. That gives the same BEV maps
as the model of several frames on a batch; nothing of the past is warped. Priors that look at other
images run when the frame is complete, on the features that were kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from bevdepth_plus.deploy.ego_motion import PoseBuffer, motion_between
from bevdepth_plus.deploy.features import PerceivedCamera
from bevdepth_plus.deploy.frames import Frame, FrameAssembler
from bevdepth_plus.deploy.inferencer import Inferencer, Stopwatch
from bevdepth_plus.deploy.network_images import NetworkImage
from bevdepth_plus.deploy.results import Result
from bevdepth_plus.errors import DataError
from bevdepth_plus.rigs.images import Source
from bevdepth_plus.rigs.rig import Rig, RigCamera


class CameraState(str, Enum):
    """What is known of a camera."""

    WAITING = "waiting"  # gave no image yet
    OK = "ok"
    MISSING = "missing"  # gave no image for the last frame
    CORRUPT = "corrupt"  # its last image could not be used
    LATE = "late"  # its last image came after its frame had ended


@dataclass(frozen=True)
class StreamLimits:
    """When frames end and when the past no longer counts.

    Attributes:
        window: longest time from the first to the last image of a frame, seconds.
        max_gap: frames farther apart start anew, seconds.
        max_speed: a faster move from one frame to the next is a jump of the pose, m/s.
        max_turn: likewise, radians a second.
        interval: from one of the model's frames to the next, seconds; None: the model's own, as it
            was trained.
        pose_wait: how long a frame waits for its pose while newer images come, seconds.
    """

    window: float = 0.08
    max_gap: float = 1.5
    max_speed: float = 80.0
    max_turn: float = 4.0
    interval: float | None = None
    pose_wait: float = 0.25


@dataclass(frozen=True, eq=False)
class ImageMessage:
    """An image of one camera: path, encoded bytes or RGB array."""

    camera: str
    stamp: float  # seconds
    image: Source


@dataclass(frozen=True, eq=False)
class PoseMessage:
    """Where the ego vehicle was: ``world_T_ego [4, 4]``."""

    stamp: float  # seconds
    world_T_ego: np.ndarray


@dataclass(eq=False)
class _Image:
    """An image of the frame that is being collected."""

    camera: RigCamera
    prepared: NetworkImage
    stamp: float
    perceived: PerceivedCamera | None = None


@dataclass(frozen=True, eq=False)
class _Moment:
    """A frame that was detected in: its cameras, and the ego pose at each shot."""

    stamp: float
    world_T_ego: np.ndarray | None
    cameras: tuple[tuple[PerceivedCamera, np.ndarray | None], ...]


@dataclass
class Stream:
    """Detects frame by frame, with the past that the model was trained with.

    The memory of the past is dropped, and the next result says why, when time runs backwards by
    more than ``max_gap``, when frames lie farther apart than that, when the pose jumps, and by
    :meth:`reset`. A model of several frames takes for each the kept moment that is nearest to its
    interval, at most half an interval off; where there is none, the key frame again, as in training
    at the start of a scene. Without poses nobody knows how the vehicle moved, and there is no past.

    A frame's result comes with its last image, or with the first pose that is not older, if poses
    come or the model has several frames.

    A lost, late, repeated or corrupt image costs its camera this frame only; the boxes are those of
    the cameras that are left.

    Attributes:
        inferencer: of the model.
        rig: the cameras; another one can be set at any time with :meth:`set_rig`.
        limits: when frames end and the past no longer counts.
        with_depth: results have depth maps.
        image_by_image: the image part runs on each image when it comes. False: on all images of a
            frame together, in the rig's order, when it is complete. Convolutions round differently
            for one image and for six: only False gives the last bits of the model on a batch.
        states: of each camera.
    """

    inferencer: Inferencer
    rig: Rig
    limits: StreamLimits = field(default_factory=StreamLimits)
    with_depth: bool = False
    image_by_image: bool = True

    def __post_init__(self) -> None:
        self.poses = PoseBuffer()
        self.states = dict.fromkeys(self.rig.names, CameraState.WAITING)
        self._frames: FrameAssembler[_Image] = FrameAssembler(self.rig.names, self.limits.window)
        self._waiting: deque[Frame[_Image]] = deque()  # complete, but without a pose
        self._past: deque[_Moment] = deque()  # newest first
        self._last: Frame[_Image] | None = None  # the newest frame that ended
        self._newest_image = -np.inf  # seconds
        self._reset: str | None = None  # why, for the next result
        self._clock = Stopwatch()

    @property
    def interval(self) -> float:
        """Seconds from one of the model's frames to the next."""
        given = self.limits.interval
        return self.inferencer.description.frame_interval if given is None else given

    def set_rig(self, rig: Rig) -> None:
        """Another calibration, or other cameras; counts from the next image on.

        Past frames keep the calibration they were taken with.
        """
        self.rig = rig
        self.states = {name: self.states.get(name, CameraState.WAITING) for name in self.rig.names}
        self._frames.set_cameras(rig.names)

    def reset(self, reason: str = "asked for") -> None:
        """Forget the past, the frame being collected, and all poses."""
        self._frames.clear()
        self._waiting.clear()
        self.poses.clear()
        self._last, self._newest_image = None, -np.inf
        self._forget(reason)

    def feed(self, messages: Iterable[ImageMessage | PoseMessage]) -> Iterator[Result]:
        """Results of a stream of messages; ends with what is left at its end."""
        for message in messages:
            if isinstance(message, PoseMessage):
                yield from self.push_pose(message.stamp, message.world_T_ego)
            else:
                yield from self.push_image(message.camera, message.stamp, message.image)
        yield from self.flush()

    def push_pose(self, stamp: float, world_T_ego: np.ndarray) -> list[Result]:
        """Add an ego pose; frames that waited for it give their results.

        Raises:
            DataError: the pose is no rigid transform, or not finite; nothing is changed.
        """
        if self._runs_backwards(stamp):
            self.reset(f"time went back to {stamp:.3f} s")
        self.poses.add(stamp, world_T_ego)
        return self._results(flush=False)

    def push_image(self, camera: str, stamp: float, image: Source) -> list[Result]:
        """Add an image and run the image part on it; frames that it completes give their results.

        Raises:
            DataError: the rig has no such camera, or the time is not finite. An image that cannot
                be used raises nothing: its camera is missing from the frame.
        """
        mounted = self.rig[camera]
        if not np.isfinite(stamp):
            raise DataError(f"camera {camera}: an image has the time {stamp}; it must be seconds")
        if self._runs_backwards(stamp):
            self.reset(f"time went back to {stamp:.3f} s")
        if self._is_late(camera, stamp):
            self.states[camera] = CameraState.LATE
            self._frames.missed[camera] = 0  # it lives: the next frame waits for it
            return []
        if self._frames.frame.stamps.get(camera) == stamp:  # the same image again
            return []
        if self._frames.ends_frame(camera, stamp):
            self._end_frame()
        self._newest_image = max(self._newest_image, stamp)
        try:
            with self._clock.stage("pixels"):
                prepared = self.inferencer.prepare(image, mounted)
        except DataError as error:
            self._frames.add(camera, stamp, None, str(error))
        else:
            self._frames.add(camera, stamp, _Image(mounted, prepared, stamp))
            if self.image_by_image:
                self._perceive([self._frames.frame.items[camera]])
        if self._frames.is_complete():
            self._end_frame()
        return self._results(flush=False)

    def flush(self) -> list[Result]:
        """Results of what was collected so far, complete or not."""
        if self._frames.frame.stamps:
            self._end_frame()
        return self._results(flush=True)

    def _perceive(self, images: Sequence[_Image]) -> None:
        with self._clock.stage("image part"):
            results = self.inferencer.perceive(
                [image.prepared for image in images],
                [image.camera for image in images],
                [image.stamp for image in images],
            )
        for image, perceived in zip(images, results, strict=True):
            image.perceived = perceived

    def _end_frame(self) -> None:
        frame = self._frames.take()
        in_order = [frame.items[name] for name in self.rig.names if name in frame.items]
        if in_order and not self.image_by_image:
            self._perceive(in_order)
        for name in self.states:
            if name in frame.items:
                self.states[name] = CameraState.OK
            elif name in frame.bad:
                self.states[name] = CameraState.CORRUPT
            elif self.states[name] is not CameraState.WAITING:
                self.states[name] = CameraState.MISSING
        self._last = frame
        if frame.items:
            self._waiting.append(frame)

    def _results(self, flush: bool) -> list[Result]:
        """Results of the frames whose pose is known, or that wait for none."""
        results = []
        while self._waiting:
            frame = self._waiting[0]
            if not flush and self._pose_may_come(frame.stamp):
                break
            self._waiting.popleft()
            results.append(self._detect(frame))
        return results

    def _pose_may_come(self, stamp: float) -> bool:
        """Whether the frame's pose is only late."""
        newest = self.poses.newest
        if newest is None and self.inferencer.description.num_frames == 1:
            return False  # one frame needs no pose
        waited = self._newest_image - stamp
        return (newest is None or newest < stamp) and waited <= self.limits.pose_wait

    def _detect(self, frame: Frame[_Image]) -> Result:
        world_T_key = self.poses.at(frame.stamp)
        images = [frame.items[name] for name in self.rig.names if name in frame.items]
        cameras = tuple(
            (image.perceived, self.poses.at(image.stamp)) for image in images if image.perceived
        )
        moment = _Moment(frame.stamp, world_T_key, cameras)
        self._check_continuity(moment)
        past = self._chosen_past(moment)
        clock, self._clock = self._clock, Stopwatch()
        placed = [_placed(each, world_T_key) for each in (moment, *past)]
        found = self.inferencer.detect(placed, clock)
        reset, self._reset = self._reset, None
        self._remember(moment)
        missing = dict.fromkeys(set(self.rig.names) - set(frame.stamps), "no image") | frame.bad
        return Result(
            found.boxes,
            stamp=frame.stamp,
            cameras=tuple(camera.name for camera, _ in cameras),
            missing=missing,
            depth=found.depth_maps if self.with_depth else {},
            milliseconds=clock.milliseconds,
            past=sum(each is not moment for each in past),
            reset=reset,
            world_T_ego=world_T_key,
        )

    def _check_continuity(self, moment: _Moment) -> None:
        """Forget the past where the new moment does not follow from it."""
        if not self._past:
            return
        last = self._past[0]
        seconds = moment.stamp - last.stamp
        if seconds > self.limits.max_gap:
            self._forget(f"{seconds:.2f} s without a frame")
        elif (moment.world_T_ego is None) != (last.world_T_ego is None):
            self._forget("poses began or ended")
        elif moment.world_T_ego is not None and last.world_T_ego is not None:
            metres, radians = motion_between(last.world_T_ego, moment.world_T_ego)
            if metres > self.limits.max_speed * seconds or radians > self.limits.max_turn * seconds:
                self._forget(
                    f"the pose jumped {metres:.1f} m and {np.degrees(radians):.0f} degrees in "
                    f"{seconds:.2f} s"
                )

    def _chosen_past(self, moment: _Moment) -> list[_Moment]:
        """The past moments of the model's frames, newest first; the key moment where one lacks.

        Without a pose nobody knows how the vehicle moved, so there is no past.
        """
        frames = range(1, self.inferencer.description.num_frames)
        if moment.world_T_ego is None:
            return [moment for _ in frames]
        return [self._nearest(moment, frame * self.interval) for frame in frames]

    def _nearest(self, moment: _Moment, back: float) -> _Moment:
        """The kept moment nearest to ``back`` seconds before this one, or this one again."""
        wanted = moment.stamp - back
        nearest = min(self._past, key=lambda past: abs(past.stamp - wanted), default=moment)
        return nearest if abs(nearest.stamp - wanted) <= self.interval / 2 else moment

    def _remember(self, moment: _Moment) -> None:
        frames = self.inferencer.description.num_frames
        if frames == 1:
            # Only time and pose are needed, for the checks of continuity.
            self._past = deque([_Moment(moment.stamp, moment.world_T_ego, ())])
            return
        self._past.appendleft(moment)
        oldest = moment.stamp - (frames - 0.5) * self.interval
        while self._past[-1].stamp < oldest:
            self._past.pop()

    def _forget(self, reason: str) -> None:
        self._past.clear()
        self._reset = reason

    def _runs_backwards(self, stamp: float) -> bool:
        return self._last is not None and self._last.stamp - stamp > self.limits.max_gap

    def _is_late(self, camera: str, stamp: float) -> bool:
        """Whether an image belongs to a frame that has ended, or to one before it."""
        if self._last is None:
            return False
        same_turn = stamp - self._last.first <= self.limits.window
        return stamp <= self._last.stamp or (same_turn and camera not in self._last.stamps)


def _placed(
    moment: _Moment, world_T_key: np.ndarray | None
) -> list[tuple[PerceivedCamera, np.ndarray]]:
    """The moment's cameras with their poses in the key frame's ego."""
    placed = []
    for camera, world_T_ego in moment.cameras:
        pose = camera.ego_T_cam
        if world_T_ego is None or world_T_key is None:
            placed.append((camera, pose))
            continue
        if not np.array_equal(world_T_ego, world_T_key):  # else the pose would only be rounded
            pose = np.linalg.inv(world_T_key) @ (world_T_ego @ pose)
        placed.append((camera, pose))
    return placed
