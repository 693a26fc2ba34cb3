"""A stream of Gaussians written by hand: a red ball that goes to the right past a resting blue one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dyn3d_ns.gaussians.lattice import ATTRIBUTES, KIND, GaussianDecoder, Lattice, LatticeGaussians
from dyn3d_ns.io.ply import SH_C0
from dyn3d_ns.io.stream.header import StreamHeader
from dyn3d_ns.io.stream.look import BACKGROUND, CAMERA, StartCamera
from dyn3d_ns.io.stream.writer import StreamWriter

LATTICE = Lattice(means=8)
"""No cells: the ball's constant velocity and its residual say all."""
SPEED = 0.125
"""World units a frame."""
BACKGROUND_COLOR = (0.0, 1.0, 0.0)
RED, BLUE = 0, 1
"""Rows."""
CAMERA_AT_START = StartCamera(
    np.array([[1.0, 0, 0, 0], [0, 0, -1, -4], [0, 1, 0, 0]]), 100.0, 100.0, 60.0, 40.0, 120, 80
)
"""At y = -4, looking along y with z up."""


def ball_at(frame: int) -> np.ndarray:
    """Return the red ball's centre in a frame."""
    return np.array([-1.0 + SPEED * frame, 0, 0.5])


class BallStream:
    """A stream that is written as far as it is asked to be."""

    def __init__(self, folder: Path, planned: int = 12, every: int = 5, camera: bool = True) -> None:
        """Write frame 0, and a key every so many frames from then on."""
        self.folder, self.every = folder, every
        self.decoder = GaussianDecoder(LATTICE)
        decoder = LATTICE.to_header() | {BACKGROUND: " ".join(map(repr, BACKGROUND_COLOR))}
        if camera:
            decoder[CAMERA] = CAMERA_AT_START.to_text()
        times = tuple(np.linspace(0, 1, planned).tolist())
        self._writer = StreamWriter.create(folder, StreamHeader(KIND, 10.0, times, decoder))
        colors = (np.array([[1.0, 0, 0], [0, 0, 1]]) - 0.5) / SH_C0
        values = {
            "means": np.stack([ball_at(0), [0.5, 0, -0.5]]),
            "quats": np.array([[1.0, 0, 0, 0]] * 2),
            "scales": np.full((2, 3), np.log(0.2)),
            "opacities": np.full((2, 1), 6.0),
            "features_dc": colors,
            "features_rest": np.zeros((2, 3, 3)),
        }
        planes = {name: LATTICE.to_int(name, value) for name, value in values.items()}
        planes |= {name: np.zeros((0, 3), np.int32) for name in ("shift", "turn")}
        planes["moving"] = np.zeros(2, bool)
        self._writer.write_init(planes)
        self._initial = self._state = self.decoder.start(planes)

    @property
    def frames(self) -> int:
        """Frames that are written."""
        return self._writer.next_frame

    def grow(self, frames: int) -> BallStream:
        """Write on until there are so many frames."""
        while self.frames < frames:
            delta = self._delta(self._state)
            self._state = self.decoder.advance(self._state, delta)
            keyed = self.every and self.frames % self.every == 0
            key = self.decoder.to_key(self._initial, self._state) if keyed else None
            self._writer.write_frame(self.frames, delta, key)
        return self

    def damage(self, frame: int, part: str = "delta") -> None:
        """Change a bit of a part."""
        path = self.folder / f"{frame:06d}.{part}"
        content = bytearray(path.read_bytes())
        content[-6] ^= 1
        path.write_bytes(content)

    def _delta(self, state: LatticeGaussians) -> dict[str, np.ndarray]:
        moving = np.array([True, False])
        # Once it moves, constant velocity leads the ball on, and nothing is left to say.
        step = 0 if state.moving[RED] else int(LATTICE.to_int("means", np.array(SPEED)))
        planes = {
            "moving_on": moving[state.moving],
            "moving_anew": moving[~state.moving],
            "grid": np.zeros((0, 6), np.int32),
            "shift": np.array([[step, 0, 0]], np.int32),
            "turn": np.zeros((1, 3), np.int32),
            "changed_moving": np.zeros(1, bool),
            "changed_resting": np.zeros(1, bool),
            "replaced": np.zeros(2, bool),
        }
        planes |= {name: np.zeros((0, width), np.int32) for name, width in ATTRIBUTES.items()}
        for name in ("means", "quats", *ATTRIBUTES, "features_rest"):
            planes[f"new_{name}"] = np.zeros((0, *vars(state)[name].shape[1:]), np.int32)
        return planes
