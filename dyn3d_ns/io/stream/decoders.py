"""What turns planes into states: one decoder a kind of stream, found by the kind's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar

import numpy as np

from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.stream.header import StreamHeader

State = TypeVar("State")
Planes = Mapping[str, np.ndarray]

ENTRY_POINTS = "dyn3d_ns.stream_decoders"
"""Group of entry points in which an installed package names its decoders, by kind."""


class StreamDecoder(Protocol[State]):
    """Decode one kind of stream, in integers, so that every machine arrives at the same state.

    Every method raises :class:`~dyn3d_ns.io.errors.DamagedFileError` for planes that no encoder writes, and
    leaves the states that it is given as they are: a player keeps them.
    """

    def start(self, planes: Planes) -> State:
        """Return the state of frame 0."""
        ...

    def advance(self, state: State, planes: Planes) -> State:
        """Return the state after a delta."""
        ...

    def jump(self, initial: State, planes: Planes) -> State:
        """Return the state of a keyframe, given that of frame 0."""
        ...

    def size(self, state: State) -> int:
        """Return the memory of a state in bytes."""
        ...

    def to_init(self, state: State) -> Planes:
        """Return planes from which :meth:`start` makes this state."""
        ...

    def to_key(self, initial: State, state: State) -> Planes:
        """Return planes from which :meth:`jump` makes this state."""
        ...


DecoderFactory = Callable[[StreamHeader], StreamDecoder[Any]]
_registered: dict[str, DecoderFactory] = {}


def register_decoder(kind: str, factory: DecoderFactory) -> None:
    """Decode streams of a kind with what ``factory`` makes of their headers, in this process."""
    _registered[kind] = factory


def decoder_of(header: StreamHeader) -> StreamDecoder[Any]:
    """Return the decoder of a stream, registered here or named by an installed package's entry point.

    Raises:
        UserError: nothing that is installed decodes this kind.
    """
    if header.kind in _registered:
        return _registered[header.kind](header)
    for found in entry_points(group=ENTRY_POINTS, name=header.kind):
        return found.load()(header)
    raise UserError(
        f"nothing that is installed decodes streams of kind {header.kind!r}; update dyn3d_ns, or install the "
        "package that wrote the stream"
    )
