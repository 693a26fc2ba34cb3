"""What every streaming method shares: a frame at a time, a delta each, resume, and a recording that grows."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from nerfstudio.cameras.cameras import Cameras
from nerfstudio.utils.rich_utils import CONSOLE
from torch import Tensor

from dyn3d_ns.data.datamanager import DynamicDataManager
from dyn3d_ns.data.sampling import Sampling
from dyn3d_ns.engine.method import DynamicMethod, DynamicMethodConfig
from dyn3d_ns.engine.schedule import Phase, Stage, frame_by_frame
from dyn3d_ns.engine.stream_run import FrameRecord, StreamRun
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.frame_source import FrameSource
from dyn3d_ns.io.scene_metadata import scene_of
from dyn3d_ns.io.shell import shell_word
from dyn3d_ns.io.stream.decoders import Planes
from dyn3d_ns.io.stream.header import StreamHeader
from dyn3d_ns.io.stream.player import StreamPlayer
from dyn3d_ns.metrics.evaluation import FrameScore

Images = UInt8[Tensor, "V H W 3"]
_PATIENCE = 0.5
"""Seconds between two looks at a recording that is still being made."""
_SEEN = "images"
"""Name, in the memory of an encoder, of the digest of the images that it has seen last."""


class _Recording(NamedTuple):
    """What a training asks of its datamanager, which is a module and so must not be a model's attribute."""

    images_at: Callable[[int], tuple[Cameras, Images]]
    indices_at: Callable[[int], list[int]]
    source: FrameSource | None


@dataclass
class StreamSettings:
    """Settings that every streaming method shares."""

    first_steps: int = 1500
    """Steps of frame 0."""
    keyframe_every: int = 20
    """Frames from one keyframe to the next; a seek decodes at most so many deltas."""
    skip_behind: int = 0
    """With --follow: frames that the training may be behind; those beyond are held. 0 trains on every one."""
    end_after: float = 30.0
    """With --follow: seconds without a new frame after which the recording counts as ended."""


@dataclass
class StreamMethodConfig(DynamicMethodConfig):
    """Settings of a method that trains a frame at a time."""

    stream: StreamSettings = field(default_factory=StreamSettings)
    """Frames, keyframes, and recordings that are still being made."""


class StreamMethod(DynamicMethod):
    """A method that trains a frame at a time and writes what changes into its run's folder.

    A method says what stages a frame goes through and implements the hooks below. Nothing but the stream and
    :meth:`memory` leads from one frame to the next, which is why a training can go on after any frame.
    """

    config: StreamMethodConfig
    resumes_with = " and the same --scale, --frame-start, --test-camera, --drop-cameras and --undistort"
    takes_masks = False
    run: StreamRun | None = None
    """The stream on disk; None before a run's folder is known."""
    frame: int = 0
    """Frame that is being trained."""
    frames_there: int = 0
    """Frames that are whole."""
    _told = False
    """Whether it was said that a frame is not there."""
    _recording: _Recording | None = None
    _follows = False
    """Whether the recording is still being made."""
    _ended = False
    """Whether the recording has ended before it was planned to."""
    _started = (0.0, 0.0)
    """Wall-clock and processor seconds at which the frame began."""
    _counts: Mapping[str, int] = MappingProxyType({})
    _seen: np.ndarray | None = None
    """Digest of the images of the frame; None for one that is held."""

    # -- what a method implements -----------------------------------------------------------------------

    def first_stage(self) -> Stage:
        """Return what frame 0 goes through."""
        raise NotImplementedError

    def later_stages(self) -> Sequence[Stage]:
        """Return what each later frame goes through."""
        raise NotImplementedError

    def end_first_frame(self, images: Images) -> tuple[StreamHeader, Planes]:
        """Return the stream's header and initial part, given the training images of frame 0."""
        raise NotImplementedError

    def begin_frame(self, images: Images | None) -> dict[str, int]:
        """Set the training of the next frame up, and return what is to be counted.

        Args:
            images: The frame's training images; None for a frame that is held as the one before.
        """
        raise NotImplementedError

    def enter_stage(self, stage: str) -> None:
        """Prepare for a stage of a later frame."""

    def end_frame(self) -> Planes:
        """Return the frame's delta; what comes next starts from what a decoder makes of it."""
        raise NotImplementedError

    def key_planes(self) -> Planes:
        """Return a key part for the frame that has just ended."""
        raise NotImplementedError

    def next_image(self) -> int | None:
        """Return which of the frame's training images the coming step sees; None if it sees none."""
        raise NotImplementedError

    def memory(self) -> dict[str, Any]:
        """Return what the encoder must remember to go on after the frame that has just ended, as arrays."""
        raise NotImplementedError

    def recall(self, player: StreamPlayer[Any], frame: int, memory: Mapping[str, np.ndarray]) -> None:
        """Go on after a frame of a stream, with what :meth:`memory` gave there."""
        raise NotImplementedError

    def show(self, player: StreamPlayer[Any]) -> None:
        """Take a player of the stream, from which other frames than the trained one are shown."""
        raise NotImplementedError

    # -- the life of a training -------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        """Return the stages of each recorded time, one after the other."""
        return frame_by_frame(self.timeline.frame_times, self.first_stage(), self.later_stages())

    def training_steps(self, configured: int) -> int:
        """Return the steps of all frames together, whatever is configured."""
        later = sum(stage.steps for stage in self.later_stages())
        return self.first_stage().steps + (self.timeline.num_frames - 1) * later

    def use_run_folder(self, folder: Path) -> None:
        """Look for the stream of a run."""
        self.run, there = StreamRun(folder), 0
        if self.run.exists and not self.training:
            player = self.run.player()
            self.show(player)
            there = player.num_frames()
        self._come_to(there)

    def _come_to(self, frames: int) -> None:
        """Note how many frames there are by now; the viewer plays these, and an evaluation scores them."""
        self.frames_there = frames
        self.playback.play_up_to(frames)

    def _tell_of_gaps(self, time: float) -> None:
        """Say once that a time is asked for whose frame is not there."""
        if not self.shows(time) and not self._told and not self.training:
            self._told = True
            CONSOLE.print(
                f"[yellow]{self.frames_there} of {self.timeline.num_frames} frames are trained; later ones "
                "show the last of these"
            )

    def shows(self, time: float) -> bool:
        """Return whether the frame of a recorded time is there."""
        return self.timeline.frame_index(time) < max(self.frames_there, 1)

    def outcome(self) -> list[str]:
        """Say how many frames the stream has, and how it is played."""
        assert self.run is not None
        there, planned = self.frames_there, self.timeline.num_frames
        if not self.run.exists:
            steps = self.config.stream.first_steps
            return [f"[yellow]No frame is whole: frame 0 takes {steps} steps (--max-num-iterations)."]
        return [f"The stream has {there} of {planned} frames: dyn3d play {shell_word(self.run.run)}"]

    def seed(self, datamanager: DynamicDataManager) -> None:
        """Keep the recording at hand, and wait for its first frame."""
        datamanager.train_dataset.require_one_size("a stream")
        source = scene_of(datamanager.train_dataset.metadata).frames
        self._recording = _Recording(datamanager.images_at, datamanager.train_indices_at, source)
        if source is not None and not source.wait(0, 10 * self.config.stream.end_after):
            raise UserError("no frame of the recording is there yet: start the cameras, then the training")
        self._follows = source is not None and source.latest() < self.timeline.num_frames
        super().seed(datamanager)

    def images_at(self, frame: int) -> Images:
        """Return the training images of a frame."""
        assert self._recording is not None
        return self._recording.images_at(frame)[1]

    def sampling(self, step: int) -> Sampling:
        """Return the image that the method asks for, of the frame that the step belongs to."""
        allowed = self.schedule.sampling(step)
        if step < self.config.stream.first_steps or self._recording is None:
            return allowed
        number = self.next_image()
        numbers = self._recording.indices_at(self.frame)
        # A step of a frame in which nothing changes looks at an image that costs nothing to have.
        return allowed._replace(image=numbers[number or 0] if not self._ended else 0)

    def enter_phase(self, phase: Phase) -> None:
        """Begin a frame, or a stage of one."""
        name, _, stage = phase.name.partition(", ")
        frame = int(name.split()[1])
        if not stage:
            self._started = time.perf_counter(), time.process_time()
            return
        if stage == self.later_stages()[0].name:
            self._begin(frame)
        self.enter_stage(stage)

    def _begin(self, frame: int) -> None:
        assert self._recording is not None and self.run is not None
        self.frame, source = frame, self._recording.source
        self._ended = source is not None and not self._wait_for(source, frame)
        if self._ended:
            self.run.end_at(self.timeline.frame_times[:frame])
            assert source is not None
            CONSOLE.print(
                f"[yellow]The recording counts as ended: after {self.config.stream.end_after:g} s "
                f"(--pipeline.model.stream.end-after) there is still no whole image of frame {frame} of "
                f"{', '.join(source.lacking(frame))}"
            )
        self._started = time.perf_counter(), time.process_time()
        behind = 0 if source is None else source.latest() - 1 - frame
        limit = self.config.stream.skip_behind
        held = self._ended or bool(limit and self._follows and behind > limit)
        images = None if held else self.images_at(frame)
        self._seen = None if images is None else _digest(images)
        self._counts = self.begin_frame(images)
        if self._follows and not self._ended:
            what = "held, to keep up" if held else "training"
            CONSOLE.print(f"frame {frame}: {what}; {behind} frames behind the recording")

    def _wait_for(self, source: FrameSource, frame: int) -> bool:
        """Wait for a frame of a recording that is still being made; return whether it came."""
        if source.latest() > frame:
            return True
        deadline = time.monotonic() + self.config.stream.end_after
        while time.monotonic() < deadline:
            if source.wait(frame, _PATIENCE):
                return True
        return False

    def leave_phase(self, phase: Phase) -> None:
        """End a frame with its last stage."""
        stage = phase.name.partition(", ")[2]
        if not stage:
            self._end_first()
        elif stage == self.later_stages()[-1].name and not self._ended:
            self._end(int(phase.name.partition(", ")[0].split()[1]))

    def _end_first(self) -> None:
        assert self.run is not None
        images = self.images_at(0)
        self._seen = _digest(images)
        header, planes = self.end_first_frame(images)
        self.run.start(header, planes, self._record(0, {}), self._memory())
        self.show(self.run.player())
        self._come_to(1)

    def _end(self, frame: int) -> None:
        assert self.run is not None
        planes = self.end_frame()
        key = self.key_planes() if frame % self.config.stream.keyframe_every == 0 else None
        self.run.add(frame, planes, key, self._record(frame, self._counts), self._memory())
        self._come_to(frame + 1)

    def _memory(self) -> dict[str, Any]:
        return self.memory() if self._seen is None else {**self.memory(), _SEEN: self._seen}

    def _record(self, frame: int, counts: Mapping[str, int]) -> FrameRecord:
        wall, cpu = self._started
        seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
        return FrameRecord(frame, round(seconds, 3), round(cpu_seconds, 3), 0, dict(counts))

    def saves_after(self, step: int) -> bool:
        """Save a checkpoint as soon as frame 0 is done: all later frames can be taken up from the stream."""
        return step == self.config.stream.first_steps - 1

    @property
    def done(self) -> bool:
        """Whether a recording that was followed has ended."""
        return self._ended

    def resume_step(self, step: int, earlier: Path) -> int:
        """Go on after the last whole frame of the stream, once there is one."""
        assert self.run is not None
        first = self.config.stream.first_steps
        if step < first:
            return step
        frame, memory = StreamRun(earlier).last()
        seen = memory.pop(_SEEN, None)
        if seen is not None and not np.array_equal(seen, _digest(self.images_at(frame))):
            raise UserError(
                f"{earlier} was trained on other images: frame {frame} is not that of --data; resume with "
                "the same recording, --scale, --frame-start, --test-camera, --drop-cameras and --undistort"
            )
        self.run.take_over(earlier, frame, self.timeline.frame_times)
        player = self.run.player()
        self.recall(player, frame, memory)
        self.show(player)
        self.frame = frame
        self._come_to(frame + 1)
        CONSOLE.print(f"The stream is whole up to frame {frame}; going on with frame {frame + 1}")
        return first + frame * sum(stage.steps for stage in self.later_stages())

    def figures(self, scores: Sequence[FrameScore]) -> dict[str, Any]:
        """Return the stream's bytes and seconds a frame, and how many frames a second are rendered."""
        found = dict(super().figures(scores))
        if self.run is not None:
            found |= self.run.figures()
        return found


def _digest(images: Images) -> np.ndarray:
    """Return what tells a frame's training images from others."""
    found = hashlib.sha256(repr(tuple(images.shape)).encode())
    found.update(images.contiguous().cpu().numpy().data)
    return np.frombuffer(found.digest(), dtype=np.uint8)
