"""The files of a stream: one part each, with its own name, length and checksum."""

from __future__ import annotations

import os
import re
import struct
import zlib
from enum import Enum
from pathlib import Path

from dyn3d_ns.io.errors import DamagedFileError

MAGIC = b"D3DS"
PART_VERSION = 1
_HEAD = struct.Struct("<4sBcHII")
"""Magic, version, kind, two zero bytes, frame, bytes of the payload; then the checksum."""
HEAD_BYTES = _HEAD.size + 4
_NAME = re.compile(r"(\d{6,9})\.(init|delta|key)")
_REMNANT = re.compile(r"\.\d{6,9}\.(init|delta|key)\..*\.tmp")


class Part(Enum):
    """Kinds of parts, by the end of their files' names."""

    INIT = "init"
    """The state of frame 0."""
    DELTA = "delta"
    """What turns the state of the frame before into that of this frame."""
    KEY = "key"
    """What turns the state of frame 0 into that of this frame."""

    def name_of(self, frame: int) -> str:
        """Return the name of the file of this part of a frame."""
        return f"{frame:06d}.{self.value}"

    @property
    def code(self) -> bytes:
        """Return the byte that stands for this kind inside the file."""
        return self.value[0].upper().encode()


PartKey = tuple[Part, int]
"""Kind and frame of a part."""


def list_parts(folder: Path) -> set[PartKey]:
    """Return the parts that a folder holds, by their names."""
    matches = (_NAME.fullmatch(name) for name in os.listdir(folder))
    found = {(Part(match[2]), int(match[1])): match[0] for match in matches if match}
    return {key for key, name in found.items() if key[0].name_of(key[1]) == name}


def remnants(folder: Path) -> list[Path]:
    """Return the temporary files of parts that a killed process left behind."""
    return [path for path in folder.iterdir() if _REMNANT.fullmatch(path.name)]


def whole_frames(parts: set[PartKey]) -> int:
    """Return how many frames from 0 on are there without a gap."""
    if (Part.INIT, 0) not in parts:
        return 0
    frame = 1
    while (Part.DELTA, frame) in parts:
        frame += 1
    return frame


def pack_part(part: Part, frame: int, payload: bytes) -> bytes:
    """Return the content of a part's file."""
    head = _HEAD.pack(MAGIC, PART_VERSION, part.code, 0, frame, len(payload))
    return head + zlib.crc32(payload, zlib.crc32(head)).to_bytes(4, "little") + payload


def unpack_part(part: Part, frame: int, content: bytes) -> bytes:
    """Return the payload of a part's file.

    Raises:
        DamagedFileError: it is cut short, changed, of a newer version, another part or no part at all.
    """
    if len(content) < HEAD_BYTES or content[:4] != MAGIC:
        raise DamagedFileError("it is no part of a stream, or cut short")
    _, version, code, _, own_frame, length = _HEAD.unpack_from(content)
    if version != PART_VERSION:
        raise DamagedFileError(
            f"it has version {version}, but this program reads {PART_VERSION}; update dyn3d_ns if it is newer"
        )
    payload = content[HEAD_BYTES:]
    if len(payload) != length:
        raise DamagedFileError(f"it should hold {length} bytes after its header, but holds {len(payload)}")
    if zlib.crc32(payload, zlib.crc32(content[: _HEAD.size])) != int.from_bytes(
        content[_HEAD.size : HEAD_BYTES], "little"
    ):
        raise DamagedFileError("its checksum does not fit")
    if (code, own_frame) != (part.code, frame):
        raise DamagedFileError(
            f"it is another part by its header: {code.decode('latin1')} of frame {own_frame}"
        )
    return payload
