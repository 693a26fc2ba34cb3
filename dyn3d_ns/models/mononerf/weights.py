"""Weights of pretrained networks from local files; nothing is downloaded and nothing is unpickled."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from dyn3d_ns.io.errors import UserError

_COUNT = "num_batches_tracked"


class WeightsError(UserError):
    """A file of pretrained weights is absent, unreadable or made for another network."""


def read_weights(path: Path, what: str) -> dict[str, Tensor]:
    """Read a state dict from a file of tensors, plain or below the key `state_dict` as in mmaction2's files.

    Args:
        path: The file.
        what: Whose weights are expected, for the error.

    Raises:
        WeightsError: The file is absent, not readable as tensors alone, or holds no state dict.
    """
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; give the file with the weights of {what}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    # What is no such file makes the unpickler fail in many ways.
    except Exception as error:
        raise WeightsError(
            f"{path} cannot be read as the weights of {what} ({' '.join(str(error).split())[:200]}); "
            "a file of tensors alone is needed: if you trust it, load it elsewhere and save its state dict"
        ) from error
    state = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise WeightsError(
            f"{path} holds a {type(state).__name__}, not the state dict of {what} (names and tensors)"
        )
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_weights(
    network: nn.Module, state: Mapping[str, Tensor], path: Path, what: str, unused: tuple[str, ...] = ()
) -> None:
    """Put the tensors of a state dict into a network, all of them, in single precision.

    Args:
        network: The network; it may be on the device `meta`, since its own tensors are not kept.
        state: Its tensors by name.
        path: The file that they come from, for the error.
        what: What the network is called, for the error.
        unused: Beginnings of names that may stand in the file and are not needed, such as a classifier's.

    Raises:
        WeightsError: A tensor is missing, has another shape or belongs to no module.
    """
    # Old files count no batches; the count has no use in eval mode.
    own = network.state_dict()
    counts = {k: torch.zeros((), dtype=torch.long) for k in own if k.endswith(_COUNT)}
    wanted = {k: v for k, v in own.items() if k not in counts}
    given = {k: v.float() for k, v in state.items() if not k.endswith(_COUNT) and not k.startswith(unused)}
    faults = [f"{key} is missing" for key in wanted if key not in given]
    faults += [
        f"{key} is {_shape(given[key])}, expected {_shape(wanted[key])}"
        for key in wanted
        if key in given and given[key].shape != wanted[key].shape
    ]
    faults += [f"{key} belongs to no module" for key in given if key not in wanted]
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise WeightsError(
            f"{path} does not fit {what}: {'; '.join(faults[:3])}{more}; "
            "give a file with the weights of that network"
        )
    network.load_state_dict(given | counts, assign=True)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
