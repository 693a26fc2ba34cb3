"""Write a video one frame at a time; the file appears once it is whole."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import UInt8

from dyn3d_ns.io.atomic import atomic_path
from dyn3d_ns.io.errors import UserError

_BT709 = 1
"""Number of the colour space in H.264's tables, which players assume where none is named."""


class VideoWriter:
    """An H.264 video in MP4, at a constant rate and of any size.

    Even sizes are stored as 4:2:0, which everything plays; that needs even sizes, so that odd ones are stored
    as 4:4:4, which VLC, mpv and ffmpeg play, but not every browser. Leaving the block with an exception
    leaves what was at the path before.
    """

    def __init__(self, path: Path, width: int, height: int, fps: float, quality: int = 12) -> None:
        """Describe the video; nothing is written before the block is entered.

        Args:
            path: File to write.
            width: Pixels.
            height: Pixels.
            fps: Frames per second.
            quality: x264's constant rate factor, lower is better; 18 is hard to tell from the original.
        """
        self.path, self.size, self.quality = path, (width, height), quality
        self.rate = Fraction(fps).limit_denominator(1001)
        self.subsampled = width % 2 == 0 and height % 2 == 0
        self._stack = ExitStack()

    def __enter__(self) -> VideoWriter:
        """Open a temporary file beside the path."""
        import av

        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._container = stack.enter_context(av.open(str(temporary), "w", format="mp4"))
            stream = self._container.add_stream("libx264", rate=self.rate, options={"crf": str(self.quality)})
            stream.width, stream.height = self.size
            stream.pix_fmt = "yuv420p" if self.subsampled else "yuv444p"
            context = stream.codec_context
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            context.color_range = 1  # 16 to 235, as in every video
            self._stream = stream
            self._stack = stack.pop_all()
        return self

    def write(self, image: UInt8[np.ndarray, "H W 3"]) -> None:
        """Append a frame.

        Raises:
            ValueError: it has another size.
            UserError: the disk is full, or the encoder gives up.
        """
        import av
        import av.error as av_error

        if image.shape != (self.size[1], self.size[0], 3):
            raise ValueError(f"a frame of shape {image.shape} in a video of {self.size[0]}x{self.size[1]}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = frame.reformat(format=self._stream.pix_fmt, dst_colorspace="ITU709", interpolation="AREA")
        try:
            self._container.mux(self._stream.encode(frame))
        except av_error.FFmpegError as error:
            raise UserError(f"cannot write {self.path}: {error}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file and give it its name, or remove it."""
        import av.error as av_error

        try:
            if kind is None:
                self._container.mux(self._stream.encode(None))
            self._stack.__exit__(kind, error, trace)
        except av_error.FFmpegError as failed:
            self._stack.__exit__(type(failed), failed, None)
            raise UserError(f"cannot write {self.path}: {failed}") from failed
        except BaseException as failed:
            self._stack.__exit__(type(failed), failed, failed.__traceback__)
            raise
