"""Kinds of damage that a file can have taken; each is a function of the file and of a random generator."""

from __future__ import annotations

import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

COUNTS = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63)
"""Lengths and counts that no file holds, and the two that one may."""
WORDS = ("nan", "inf", "-inf", "1e400", "NaN", "", "x", "-5", "0.5", "9" * 400, *map(str, COUNTS))
VALUES: tuple[Any, ...] = (
    None,
    True,
    "",
    "x",
    "../x",
    -1,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [1, 2, 3],
    {"a": 1},
    10**400,
    *COUNTS,
)
"""What stands in a JSON file in another value's place."""

Damage = Callable[[bytes, random.Random], bytes]


def cut(data: bytes, rng: random.Random) -> bytes:
    """Keep the beginning."""
    return data[: rng.randrange(len(data))]


def bit(data: bytes, rng: random.Random) -> bytes:
    """Turn one bit over."""
    found = bytearray(data)
    found[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(found)


def _run(value: int) -> Damage:
    def damage(data: bytes, rng: random.Random) -> bytes:
        at, length = rng.randrange(len(data)), rng.choice((1, 2, 4, 8, 64, 512))
        found = bytearray(data)
        found[at : at + length] = bytes([value]) * len(found[at : at + length])
        return bytes(found)

    return damage


def garbage(data: bytes, rng: random.Random) -> bytes:
    """Put random bytes behind the end."""
    return data + rng.randbytes(rng.choice((1, 7, 100)))


def noise(data: bytes, rng: random.Random) -> bytes:
    """Return random bytes, behind the file's own first ones or not."""
    return data[: rng.choice((0, 4, 8, 16, 64))] + rng.randbytes(rng.choice((1, 40, len(data))))


def count(data: bytes, rng: random.Random) -> bytes:
    """Write an impossible number over some bytes, of any width and order."""
    width, order = rng.choice((2, 4, 8)), rng.choice("<>")
    number = rng.choice(COUNTS) & (1 << 8 * width) - 1
    # Headers come first, and hold the numbers that matter.
    at = rng.randrange(min(len(data), rng.choice((16, 64, len(data)))))
    return data[:at] + struct.pack(order + {2: "H", 4: "I", 8: "Q"}[width], number) + data[at + width :]


def not_finite(data: bytes, rng: random.Random) -> bytes:
    """Write NaN or infinity over some bytes."""
    kind = rng.choice(("<f", ">f", "<d", ">d"))
    number = struct.pack(kind, rng.choice((float("nan"), float("inf"), -float("inf"), 1e38)))
    at = rng.randrange(len(data)) // 4 * 4
    return data[:at] + number + data[at + len(number) :]


def _records(data: bytes, rng: random.Random) -> list[bytes]:
    """Split a file into lines, or into pieces of a size in which binary records come."""
    if b"\0" not in data and data.count(b"\n") > 1:
        return data.splitlines(keepends=True)
    size = rng.choice((4, 8, 12, 16, 24, 64))
    return [data[i : i + size] for i in range(0, len(data), size)]


def records(data: bytes, rng: random.Random) -> bytes:
    """Duplicate, drop or swap records, or cut the file at the end of one."""
    parts = _records(data, rng)
    i, j = rng.randrange(len(parts)), rng.randrange(len(parts))
    what = rng.choice(("twice", "dropped", "swapped", "cut"))
    if what == "twice":
        parts.insert(i, parts[j])
    elif what == "dropped":
        del parts[i]
    elif what == "swapped":
        parts[i], parts[j] = parts[j], parts[i]
    else:
        parts = parts[:i]
    return b"".join(parts)


def words(data: bytes, rng: random.Random) -> bytes:
    """Put another word in a number's place."""
    found = list(re.finditer(rb"[-+]?\d[\d.eE+-]*", data))
    if not found:
        return count(data, rng)
    which = rng.choice(found)
    return data[: which.start()] + rng.choice(WORDS).encode() + data[which.end() :]


BYTES: dict[str, Damage] = {
    "cut": cut,
    "bit": bit,
    "zeros": _run(0),
    "ones": _run(255),
    "garbage": garbage,
    "noise": noise,
    "count": count,
    "nan": not_finite,
    "records": records,
    "words": words,
}
"""Damage to any file."""


def json_value(data: bytes, rng: random.Random) -> bytes:
    """Put another value in a value's place."""
    content = json.loads(data)
    return _dumped(_changed(content, rng, lambda value: rng.choice(VALUES)))


def json_records(data: bytes, rng: random.Random) -> bytes:
    """Duplicate, drop or swap entries of a list, or drop or rename a key."""

    def change(value: Any) -> Any:
        if isinstance(value, dict) and value:
            key = rng.choice(sorted(value))
            rest = {k: v for k, v in value.items() if k != key}
            return rest if rng.random() < 0.7 else {**rest, key + "_": value[key]}
        if isinstance(value, list) and value:
            i, j = rng.randrange(len(value)), rng.randrange(len(value))
            what = rng.choice(("twice", "dropped", "swapped"))
            if what == "twice":
                return [*value, value[i]]
            if what == "dropped":
                return value[:i] + value[i + 1 :]
            found = list(value)
            found[i], found[j] = found[j], found[i]
            return found
        return rng.choice(VALUES)

    return _dumped(_changed(json.loads(data), rng, change))


def json_nesting(data: bytes, rng: random.Random) -> bytes:
    """Nest a value more deeply than a program can follow."""
    deep = 100_000 if rng.random() < 0.5 else 900
    mark = '"here"'
    text = _dumped(_changed(json.loads(data), rng, lambda value: "here")).decode()
    return text.replace(mark, "[" * deep + "]" * deep, 1).encode()


def _dumped(content: Any) -> bytes:
    return json.dumps(content).encode()


def _changed(content: Any, rng: random.Random, change: Callable[[Any], Any]) -> Any:
    """Return the content with one value changed, at any depth."""
    inner = (
        sorted(content)
        if isinstance(content, dict)
        else range(len(content))
        if isinstance(content, list)
        else ()
    )
    if not inner or rng.random() < 0.2:
        return change(content)
    key = rng.choice(list(inner))
    found = dict(content) if isinstance(content, dict) else list(content)
    found[key] = _changed(content[key], rng, change)
    return found


JSON = {**BYTES, "value": json_value, "json-records": json_records, "nesting": json_nesting}


def array_type(data: bytes, rng: random.Random) -> bytes:
    """Store an array as another type."""
    array = np.load(io.BytesIO(data), allow_pickle=True)
    kind = rng.choice(("f2", "f8", "i1", "i8", "u2", "?", "U3", "S3", "c16", "O", ">f4", "V4", "M8[s]"))
    if kind[0] in "VM":
        changed = np.zeros(array.shape, kind)
    elif array.dtype == object:
        changed = np.zeros(array.shape, "f4")
    else:
        changed = array.astype(kind)
    return _stored(changed)


def array_shape(data: bytes, rng: random.Random) -> bytes:
    """Store an array in another shape."""
    array = np.load(io.BytesIO(data), allow_pickle=True)
    changes: tuple[Callable[[], np.ndarray], ...] = (
        lambda: array.T,
        lambda: array[None],
        lambda: array[..., None],
        lambda: array.reshape(-1),
        lambda: array[:0],
        lambda: np.zeros((), array.dtype),
        lambda: array[..., :1],
        lambda: array[..., :0],
        lambda: array[1:],
        lambda: np.concatenate([array, array]),
        lambda: np.zeros((0, 0, 0), array.dtype),
        lambda: np.asfortranarray(array),
    )
    try:
        return _stored(rng.choice(changes)())
    except (ValueError, IndexError):  # a number has no rows
        return _stored(array[None])


def array_values(data: bytes, rng: random.Random) -> bytes:
    """Put NaN, infinity or numbers that are too large into an array."""
    array = np.load(io.BytesIO(data), allow_pickle=True).copy()
    if array.dtype == object or not array.size:
        return bit(data, rng)
    flat, at = array.reshape(-1), rng.randrange(array.size)
    if array.dtype.kind == "f":
        flat[at :: rng.choice((1, 2, array.size))] = rng.choice((np.nan, np.inf, -np.inf, 0.0, -1.0, 1e30))
    elif array.dtype.kind in "iu":
        flat[at :: rng.choice((1, 2, array.size))] = rng.choice(
            (0, np.iinfo(array.dtype).max, np.iinfo(array.dtype).min)
        )
    else:
        flat[:] = ~flat if array.dtype == bool else flat[at]
    return _stored(array)


def array_header(data: bytes, rng: random.Random) -> bytes:
    """State impossible lengths in the header, or a text that is none."""
    end = data.index(b"\n") + 1
    text = data[10:end].decode("latin1")
    if rng.random() < 0.8:
        shape = "(" + ", ".join(str(rng.choice(COUNTS)) for _ in range(rng.randrange(1, 5))) + ",)"
        text = re.sub(r"\([^)]*\)", shape, text)
    else:
        text = text.replace(
            rng.choice(("'", "f4", "(", "True", "False", "shape")), rng.choice(("", "[", "x", "O", "(" * 150))
        )
    text = text.rstrip() + " " * 10 + "\n"
    return data[:8] + struct.pack("<H", len(text)) + text.encode("latin1") + data[end:]


def _stored(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


NPY = {**BYTES, "type": array_type, "shape": array_shape, "values": array_values, "header": array_header}


def _member(damages: dict[str, Damage]) -> Damage:
    """Damage one member of an archive, whose checksums then fit."""

    def damage(data: bytes, rng: random.Random) -> bytes:
        def change(name: str, content: bytes) -> bytes:
            arrays = NPY if name.endswith(".npy") else BYTES
            kind = rng.choice(sorted({**damages, **arrays}))
            return {**damages, **arrays}[kind](content, rng) if content else content

        return _rebuilt(data, rng, change)

    return damage


def member_names(data: bytes, rng: random.Random) -> bytes:
    """Drop, double or rename a member."""
    what = rng.choice(("dropped", "twice", "renamed"))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    i = rng.randrange(len(members))
    if what == "dropped":
        del members[i]
    elif what == "twice":
        members.append(members[i])
    else:
        members[i] = (rng.choice(("x.npy", "x", "../x.npy", members[i][0] + ".npy")), members[i][1])
    return _archive(members)


def _rebuilt(data: bytes, rng: random.Random, change: Callable[[str, bytes], bytes]) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    i = rng.randrange(len(members))
    members[i] = members[i][0], change(*members[i])
    return _archive(members)


def _archive(members: list[tuple[str, bytes]]) -> bytes:
    import warnings

    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore")
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


NPZ = {**BYTES, "member": _member({}), "member-again": _member({}), "member-names": member_names}


def png_header(data: bytes, rng: random.Random) -> bytes:
    """State another size, depth or kind of pixels, with the checksum that fits."""
    width, height = struct.unpack(">II", data[16:24])
    sizes = (width, height, 0, 1, 7, 20_000, 60_000, 2**31 - 1, 2**32 - 1)
    head = struct.pack(">II", rng.choice(sizes), rng.choice(sizes)) + bytes(
        (
            rng.choice((data[24], 0, 1, 8, 16, 255)),
            rng.choice((data[25], 0, 2, 3, 4, 6, 9)),
            0,
            0,
            rng.choice((0, 1)),
        )
    )
    chunk = b"IHDR" + head
    return data[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


def png_pixels(data: bytes, rng: random.Random) -> bytes:
    """Damage a chunk, with the checksum that fits."""
    at, chunks = 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    i = rng.randrange(1, len(chunks))
    name, body = chunks[i]
    if rng.random() < 0.3:
        name = rng.choice((b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"eXIf", b"gAMA", b"IDAT", b"acTL"))
    chunks[i] = name, rng.choice((bit, cut, noise, count))(body, rng) if body else rng.randbytes(9)
    return data[:8] + b"".join(
        struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in chunks
    )


PNG = {**BYTES, "png-header": png_header, "png-chunk": png_pixels}
