"""Readers of one camera's frames: a video from its beginning to its end, or images by their number."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from dyn3d_ns.io.damage import image_errors
from dyn3d_ns.io.errors import DamagedFileError, ImageSizeError, MissingFileError
from dyn3d_ns.io.images import read_image
from dyn3d_ns.io.recordings.base import Decode
from dyn3d_ns.io.video_stream import Pictures, picture_stream, shown_packets, stated_frames

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

_ENDS = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9", ".jpeg": b"\xff\xd9"}
"""Last bytes of a file that is whole."""
_MEND = "restore it from the original, or leave the camera out with --drop-cameras"


def stamp_of(path: Path) -> str:
    """Return a hash of a file's name, size and time of change."""
    facts = path.stat()
    return hashlib.sha256(f"{path.name}|{facts.st_size}|{facts.st_mtime_ns}".encode()).hexdigest()[:10]


class VideoFrames:
    """Frames of a video, in the order in which they are shown."""

    sequential = True

    def __init__(self, path: Path) -> None:
        """Read the header, and the first frame, which tells how the pictures are turned and coloured.

        Raises:
            DamagedFileError: it is no video, or has no frame.
        """
        import av.error as av_error

        self.source = path
        size, notes = (0, 0), []
        try:
            with closing(_open(path)) as container:
                stream, note = _stream(container)
                self.fps = float(stream.average_rate) if stream.average_rate else None
                stated = stated_frames(stream)
                count = stated if stated and stated == stream.frames else len(self._times)
                pictures, first = Pictures(stream, full_chroma=True), next(container.decode(stream), None)
                if first is not None:
                    size = pictures.size(first)
                    notes = ([] if note is None else [note]) + pictures.notes(first)
        except (av_error.FFmpegError, ValueError, IndexError) as error:
            raise DamagedFileError(f"{path} is not a readable video ({error}); {_MEND}") from error
        if count == 0 or 0 in size:
            raise DamagedFileError(f"{path} is a video without a frame; {_MEND}")
        self.size, self.num_frames, self.notes = size, count, tuple(notes)
        self._stamp = stamp_of(path)

    def frames_from(self, start: int) -> Generator[Decode, None, None]:
        """Decode one frame after another, from frame ``start`` on; colours are converted where asked for.

        Raises:
            DamagedFileError: the file cannot be decoded on.
        """
        import av.error as av_error

        try:
            with closing(_open(self.source)) as container:
                stream, _ = _stream(container)
                pictures = Pictures(stream, full_chroma=True)
                for frame in self._decoded(container, stream, start):
                    yield partial(pictures.rgb, frame)
        except (av_error.FFmpegError, ValueError, IndexError) as error:
            raise DamagedFileError(f"{self.source} cannot be decoded on ({error}); {_MEND}") from error

    def is_there(self, frame: int) -> bool:
        """Return whether the video has the frame."""
        return frame < self.num_frames

    def path(self, frame: int) -> Path | None:
        """Return None: frames have no files."""
        return None

    def stamp(self, frame: int) -> str:
        """Return the video's hash of name, size and time."""
        return self._stamp

    @cached_property
    def _times(self) -> list[int | None]:
        """Times of all frames in the order in which they are shown, without decoding one."""
        with closing(_open(self.source)) as container:
            times = [packet.pts for packet in shown_packets(container, _stream(container)[0])]
        return times if None in times else sorted(times)  # type: ignore[type-var]

    def _decoded(self, container: InputContainer, stream: VideoStream, start: int) -> Iterator[av.VideoFrame]:
        first = self._times[start] if 0 < start < len(self._times) else None
        if first is not None:
            container.seek(first, stream=stream)
            decoded = container.decode(stream)
            for number, frame in enumerate(decoded):
                if number == 0 and (frame.pts is None or frame.pts > first):
                    break
                if frame.pts is not None and frame.pts >= first:
                    yield frame
            else:
                return
            # There was no keyframe before it to go on from.
            container.seek(0, stream=stream)
        yield from islice(container.decode(stream), start, None)


def _open(path: Path) -> InputContainer:
    import av

    return av.open(str(path))


def _stream(container: InputContainer) -> tuple[VideoStream, str | None]:
    """Return the video track, set to one thread: there is a decoder a camera; and what others there are."""
    stream, note = picture_stream(container)
    if stream is None:
        raise IndexError("it has no video track")
    stream.codec_context.thread_count = 1
    return stream, note


class ImageFrames:
    """Frames in files of their own."""

    sequential = False
    fps = None
    notes = ()

    def __init__(self, source: Path, path_of: Callable[[int], Path], num_frames: int) -> None:
        """Read the first one's header.

        Args:
            source: Folder, to name in messages.
            path_of: Gives the file of a frame.
            num_frames: Frames that there are, or that are planned.

        Raises:
            MissingFileError: the first frame is missing.
            DamagedFileError: it cannot be read.
        """
        self.source, self.num_frames, self._path_of = source, num_frames, path_of
        first = path_of(0)
        if not first.is_file():
            raise MissingFileError(f"{first} does not exist; every camera must have its first frame")
        try:
            with Image.open(first) as image:
                self.size: tuple[int, int] = image.size
        except image_errors() as error:
            raise DamagedFileError(f"{first} is not a readable image ({error}); {_MEND}") from error

    def frames_from(self, start: int) -> Generator[Decode, None, None]:
        """Read one frame after another."""
        for frame in range(start, self.num_frames):
            yield partial(self._read, self._path_of(frame))

    def is_there(self, frame: int) -> bool:
        """Return whether the frame's file is there and has its end."""
        path = self._path_of(frame)
        if not path.is_file():
            return False
        end = _ENDS.get(path.suffix.lower())
        if end is None:
            return self._decodes(path)
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - 64, 0))
            return end in file.read()

    def path(self, frame: int) -> Path | None:
        """Return the frame's file."""
        return self._path_of(frame)

    def stamp(self, frame: int) -> str:
        """Return the hash of name, size and time of the frame's file.

        Raises:
            MissingFileError: it is not there.
        """
        path = self._path_of(frame)
        try:
            return stamp_of(path)
        except FileNotFoundError as error:
            raise MissingFileError(f"{path} does not exist; it was there, or is still to come") from error

    def _read(self, path: Path) -> UInt8[np.ndarray, "H W 3"]:
        image = read_image(path, alpha=False)
        height, width = image.shape[:2]
        if (width, height) != self.size:
            raise ImageSizeError(
                f"{path} is {width}x{height}, the camera's first frame {self.size[0]}x{self.size[1]}; frames "
                "of a camera share one size"
            )
        return image

    def _decodes(self, path: Path) -> bool:
        try:
            read_image(path, alpha=False)
        except DamagedFileError:
            return False
        return True
