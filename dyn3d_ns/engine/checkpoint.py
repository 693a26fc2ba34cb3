"""Checkpoints that are whole or not there, and that hold all that an exact resume needs."""

from __future__ import annotations

import os
import pickle
import random
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dyn3d_ns.io.errors import UserError
from dyn3d_ns.io.shell import shell_word

# Nerfstudio reads a step from every file name in the folder, so an unfinished file must have one as well:
# step 0, which never is the latest beside a whole checkpoint.
_UNFINISHED = "step-000000000.tmp"
FOLDER_NAME = "nerfstudio_models"
"""Folder of a run in which Nerfstudio keeps checkpoints."""
SHOWN = ("step", "pipeline")
"""What of a checkpoint the commands read that show a scene."""
RESUMED = (*SHOWN, "optimizers", "schedulers", "scalers", "rng", "datamanager", "model")
"""What of it a training reads that goes on."""
_NAME = re.compile(r"step-(\d+)\.ckpt")


class CheckpointError(UserError):
    """A checkpoint cannot be written or read; the message says why and what to do."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """Return the name that Nerfstudio gives to the checkpoint of a step."""
    return folder / f"step-{step:09d}.ckpt"


def save_checkpoint(state: Mapping[str, Any], folder: Path, step: int, only_latest: bool) -> Path:
    """Give a checkpoint its name only once it is whole on the disk; then delete older ones if asked to.

    Raises:
        CheckpointError: it could not be written (disk full, no permission); the older ones are untouched.
    """
    path, unfinished = checkpoint_path(folder, step), folder / _UNFINISHED
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(unfinished, "wb") as file:
            torch.save(to_plain(state), file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
        _fsync_folder(folder)
    except (OSError, RuntimeError) as error:  # torch turns an error of the file into a RuntimeError
        if unfinished.is_file():
            unfinished.unlink()
        raise CheckpointError(_explain_failed_write(path, error)) from error
    if only_latest:
        for other in folder.glob("step-*.ckpt"):
            if other != path:
                other.unlink()
    return path


def checkpoints_in(folder: Path) -> dict[int, Path]:
    """Return the checkpoints in a checkpoint folder or in its run's folder, by step."""
    return {
        int(match[1]): path
        for place in (folder, folder / FOLDER_NAME)
        if place.is_dir()
        for path in place.iterdir()
        if (match := _NAME.fullmatch(path.name))
    }


def run_of(checkpoint: Path) -> Path:
    """Return the folder of the run that wrote a checkpoint."""
    return checkpoint.parent.parent


def find_checkpoint(folder: Path, step: int | None = None) -> Path:
    """Return the checkpoint of a step, or the latest one, in a checkpoint folder or in its run's folder.

    Files that a killed process left unfinished are not considered.

    Raises:
        CheckpointError: there is none.
    """
    found = checkpoints_in(folder)
    if folder.is_file():
        raise CheckpointError(
            f"{folder} is a file; --load-dir takes its folder, and --load-checkpoint the file"
        )
    if not found:
        raise CheckpointError(
            f"{folder} holds no checkpoint (step-*.ckpt); train first, or run the command in the folder in "
            "which the training ran, since its config.yml may name places relative to that; "
            "--load-dir takes the folder nerfstudio_models of a run"
        )
    if step is not None and step not in found:
        raise CheckpointError(f"no checkpoint of step {step} in {folder}; there are {sorted(found)}")
    return found[max(found) if step is None else step]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU with torch's safe loader, which runs no code from the file.

    Raises:
        CheckpointError: the file is missing or damaged, or holds other objects than tensors and numbers.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises five kinds, depending on where the file is damaged
        older = sorted(p.name for p in path.parent.glob("step-*.ckpt") if p != path)
        advice = f"take another one with --load-step: {older}" if older else "there is no other one beside it"
        said = str(error).partition("\n")[0] or type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's advice is to load the file without care
            named = re.search(r"GLOBAL (\S+)", str(error))
            said = f"it names {named[1]}" if named else "it is damaged, or no checkpoint"
        raise CheckpointError(f"cannot read checkpoint {path}: {said}; {advice}") from error


def require_parts(state: Any, path: Path, parts: Sequence[str]) -> None:
    """Check that a file that was read is a checkpoint of a method of ours.

    Raises:
        CheckpointError: it lacks a part.
    """
    lacking = [part for part in parts if not isinstance(state, dict) or part not in state]
    if lacking:
        raise CheckpointError(
            f"{path} is no checkpoint of a method of ours: it lacks {', '.join(map(repr, lacking))}; take "
            "one from the folder nerfstudio_models of a training of the same method"
        )


@contextmanager
def explaining_misfits(path: Path) -> Iterator[None]:
    """Run what takes a checkpoint's parts.

    Raises:
        CheckpointError: they do not fit, as they come from other settings or another method.
    """
    try:
        yield
    except UserError:
        raise
    except (RuntimeError, KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = lines[min(1, len(lines) - 1)] if lines else type(error).__name__
        raise CheckpointError(
            f"{path} does not fit this training ({said}): it was made with other settings or another "
            f"version; {run_of(path) / 'config.yml'} says which"
        ) from error


def rng_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's global random generators as tensors and numbers."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {
            "kind": str(kind),
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "rest": [int(position), int(has_gauss), float(cached)],
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_rng(state: Mapping[str, Any]) -> None:
    """Set the global random generators as ``rng_state`` found them.

    CUDA generators are restored only where there are as many GPUs as there were.
    """
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    np.random.set_state(  # noqa: NPY002
        (numpy["kind"], numpy["keys"].numpy().astype(np.uint32), *numpy["rest"])
    )
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def to_plain(value: Any) -> Any:
    """Replace NumPy scalars and arrays by Python numbers and tensors, so that the safe loader reads them."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, Tensor):
        return value
    if isinstance(value, dict):
        return type(value)((to_plain(k), to_plain(v)) for k, v in value.items())
    if type(value) in (list, tuple, set):
        return type(value)(to_plain(v) for v in value)
    return value


def _explain_failed_write(path: Path, error: Exception) -> str:
    existing = path.parent
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free / 1e6
    whole = sorted(p.name for p in path.parent.glob("step-*.ckpt"))
    kept = (
        f"the last whole checkpoint, {whole[-1]}, is untouched" if whole else "there is no earlier checkpoint"
    )
    return (
        f"cannot write checkpoint {path}: {error} ({free:.0f} MB free on that disk); {kept}. "
        f"Free some space or choose another disk with --output-dir, then resume with "
        f"--load-dir {shell_word(path.parent)}"
    )


def _fsync_folder(folder: Path) -> None:
    """Make a rename durable; Windows has no such call."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
