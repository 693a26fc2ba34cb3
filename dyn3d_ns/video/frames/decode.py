"""Frames out of a video or a folder of images, upright, one at a time, with their times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8

from dyn3d_ns.io.errors import StageError
from dyn3d_ns.io.recognised import IMAGE_SUFFIXES
from dyn3d_ns.io.series import picture_series
from dyn3d_ns.io.video_stream import Pictures, picture_stream, stated_frames, stated_seconds

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

_FULL_FRAME_WIDTH_MM = 36.0
_QUICKTIME_FOCAL = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
_PAGED = (*IMAGE_SUFFIXES, ".apng", ".gif")
"""Endings of files that may hold several pictures: TIFF stacks, animated GIF, WebP and PNG."""


class Frame(NamedTuple):
    """One decoded image."""

    number: int
    """Position in the video or in the sorted folder."""
    seconds: float
    image: UInt8[np.ndarray, "H W 3"]
    name: str = ""
    """Of the image in the folder; empty in a video."""


@dataclass
class Source:
    """A video or a folder; iterate :meth:`frames` once, then read what was found out on the way."""

    path: Path
    folder_fps: float = 24.0
    """Frames per second of a folder of images."""
    notes: list[str] = field(default_factory=list)
    """What could not be read."""
    focal_35mm: float | None = None
    """Focal length for a frame 36 mm wide, from EXIF or QuickTime metadata."""

    def frames(self) -> Iterator[Frame]:
        """Yield the frames in order of time.

        Raises:
            StageError: there is nothing that can be read; the message says what was found.
            DatasetError: it is not plain which images of a folder are the frames.
        """
        if not self.path.exists():
            raise StageError(f"{self.path} does not exist; give a video file or a folder of images")
        if self.path.is_dir() or self.path.suffix.lower() in _PAGED:
            return self._stills()
        return self._video()

    def count_hint(self, limit: int | None) -> int | None:
        """Estimate how many frames there are, for a progress bar; None if the file does not say."""
        import av
        import av.error as av_error

        try:
            if self.path.is_dir():
                count = len(picture_series(self.path).images)
            elif self.path.suffix.lower() in _PAGED:
                return limit
            else:
                with av.open(str(self.path)) as container:
                    stream, _ = picture_stream(container)
                    count = stated_frames(stream) if stream is not None else None
        except (av_error.FFmpegError, ValueError):
            # Reading the frames, which comes next, says what is wrong.
            return None
        return min(count, limit) if count and limit else count or None

    def _stills(self) -> Iterator[Frame]:
        from dyn3d_ns.video.frames.stills import Stills, frames_of_file, frames_of_folder

        stills = Stills()
        if self.path.is_dir():
            for number, name, image in frames_of_folder(self.path, stills, self.notes):
                self.focal_35mm = stills.focal_35mm
                yield Frame(number, number / self.folder_fps, image, name)
            return
        seconds = 0.0
        for number, (shown, image) in enumerate(frames_of_file(self.path, stills, self.notes)):
            yield Frame(number, seconds, image)
            seconds += shown or 1 / self.folder_fps

    def _video(self) -> Iterator[Frame]:
        import av
        import av.error as av_error

        if self.path.stat().st_size == 0:
            raise StageError(f"{self.path} is empty; give a video file or a folder of images")
        try:
            container = av.open(str(self.path))
        except (av_error.FFmpegError, ValueError) as error:
            raise StageError(f"{self.path} is not a video that can be read: {error}") from error
        with container:
            stream, note = picture_stream(container)
            if stream is None:
                raise StageError(f"{self.path} holds no video stream; give a video file")
            if note is not None:
                self.notes.append(f"{self.path.name} {note}")
            focal = container.metadata.get(_QUICKTIME_FOCAL)
            self.focal_35mm = float(focal) if focal and re.fullmatch(r"\d+(\.\d+)?", focal) else None
            yield from self._decode(container, stream)

    def _decode(self, container: InputContainer, stream: VideoStream) -> Iterator[Frame]:
        import av.error as av_error

        stream.thread_type = "AUTO"
        pictures = Pictures(stream)
        rate = float(stream.average_rate or stream.guessed_rate or 24)
        number, damaged, start, last, shown = 0, 0, None, -1.0, 1 / rate
        packets = container.demux(stream)
        ended = False
        while not ended:
            try:
                packet = next(packets)
                decoded = packet.decode()
            except StopIteration:
                break
            except av_error.FFmpegError:
                damaged += 1
                # A damaged packet is passed over; where the file itself breaks off, the reader cannot go on.
                ended = damaged > 100
                continue
            for frame in decoded:
                if number == 0:
                    self.notes.extend(f"{self.path.name} {note}" for note in pictures.notes(frame))
                seconds = frame.time if frame.time is not None else number / rate
                start = seconds if start is None else start
                seconds = seconds - start if seconds - start > last else last + 1 / rate
                last = seconds
                if frame.duration and frame.time_base:
                    shown = max(1 / rate, float(frame.duration * frame.time_base))
                if not frame.is_corrupt:
                    yield Frame(number, seconds, pictures.rgb(frame))
                else:
                    damaged += 1
                number += 1
        if number == 0:
            raise StageError(f"{self.path} is a video, but not one frame of it can be decoded")
        if damaged:
            self.notes.append(f"{damaged} damaged part(s) of {self.path.name} could not be decoded")
        self._check_length(container, stream, number, last + shown, rate)

    def _check_length(
        self, container: InputContainer, stream: VideoStream, number: int, seconds: float, rate: float
    ) -> None:
        """Note a file that states more than it holds: in length and, where it counts them, in frames.

        The count alone tells nothing: that of a trimmed clip includes what was cut away.
        """
        if stream.frames and number + 1 >= stream.frames:
            return
        stated = stated_seconds(container, stream)
        if stated is not None:
            short = stated > seconds + (2 / rate if stream.frames else max(0.25, 0.02 * stated))
            told = f"{stated:.2f} s, but only {seconds:.2f} s"
        else:
            short, told = bool(stream.frames), f"{stream.frames} frames, but only {number}"
        if short:
            self.notes.append(f"{self.path.name} states {told} can be decoded: it is cut short")


def focal_in_pixels(focal_35mm: float | None, width: int, height: int) -> float | None:
    """Turn a focal length for a frame 36 mm wide into pixels of an image."""
    return None if not focal_35mm else focal_35mm / _FULL_FRAME_WIDTH_MM * max(width, height)
