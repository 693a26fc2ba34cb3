"""Nerfstudio's `train_filenames`, `val_filenames` and `test_filenames` in a transforms file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dyn3d_ns.io.errors import DamagedFileError, DatasetError, EmptySplitError
from dyn3d_ns.io.transforms_json import FileIndex

_SPLITS = ("train", "val", "test")
LISTS = tuple(f"{split}_filenames" for split in _SPLITS)
"""Keys of the lists."""


class ListedSplits(NamedTuple):
    """What the lists of a file say of its frames."""

    labels: list[str | None]
    """Split of each frame; None where no list names it."""
    notes: tuple[str, ...]


def listed_splits(
    content: Mapping[str, Any], images: Sequence[Path], index: FileIndex, path: Path
) -> ListedSplits | None:
    """Return the splits that a file lists by name; None if it has no such list.

    A frame that trains trains, whatever other lists name it. Where only training, or only evaluation, is
    listed, the other frames are the other part.

    Raises:
        DatasetError: a list names what is no frame of the file.
        EmptySplitError: nothing is left to train on.
    """
    lists = {split: content[f"{split}_filenames"] for split in _SPLITS if f"{split}_filenames" in content}
    if not lists:
        return None
    named = {split: _images(names, f"{path}, `{split}_filenames`", index) for split, names in lists.items()}
    known = set(images)
    for split, found in named.items():
        strange = next((image for image in found if image not in known), None)
        if strange is not None:
            raise DatasetError(f"{path}: `{split}_filenames` names {strange}, which is no frame of the file")
    train, val, test = (named.get(split, set()) for split in _SPLITS)
    rest: str | None = None
    if len(lists) < len(_SPLITS) and "train" not in lists:
        rest = "train"
    elif list(lists) == ["train"]:
        rest = "test"
    labels: list[str | None] = []
    for image in images:
        where = [s for s, found in (("train", train), ("test", test), ("val", val)) if image in found]
        labels.append(where[0] if where else rest)
    if "train" not in labels:
        raise EmptySplitError(f"{path}: its lists leave no frame to train on; name some in `train_filenames`")
    listed = ", ".join(f"`{split}_filenames`" for split in lists)
    notes = [f"{path.name} is split as {listed} say"]
    both = sum(image in train and (image in val or image in test) for image in images)
    if both:
        notes.append(f"{both} frames are listed for training and for evaluation; they train only")
    left = labels.count(None)
    if left:
        notes.append(f"{left} of {len(labels)} frames are in none of the lists and not used")
    return ListedSplits(labels, tuple(notes))


def _images(names: Any, where: str, index: FileIndex) -> set[Path]:
    if not isinstance(names, list):
        raise DamagedFileError(f"{where} must be a list of names, got {names!r:.80}")
    return {index.find(name, where) for name in names}
