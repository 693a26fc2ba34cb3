"""Choice of an encoder by name."""

from pathlib import Path
from typing import Literal, get_args

from dyn3d_ns.io.errors import UserError
from dyn3d_ns.models.mononerf.encoders import SmallEncoder, VideoEncoder
from dyn3d_ns.models.mononerf.slowonly import SlowOnlyEncoder
from dyn3d_ns.models.mononerf.torchvision_encoder import TorchvisionEncoder
from dyn3d_ns.models.mononerf.weights import WeightsError

EncoderKind = Literal["small", "slowonly", "resnet18", "resnet34", "resnet50", "r3d_18", "s3d"]


def make_encoder(
    kind: EncoderKind, path: Path | None = None, *, code: int, channels: int = 16
) -> VideoEncoder:
    """Build an encoder; a pretrained one reads its weights from ``path`` and never looks elsewhere.

    Args:
        kind: ``small`` (trained with the field, no file) or a pretrained network.
        path: File of the pretrained weights.
        code: Length of the code of the clip, 0 for a spatial encoder.
        channels: Channels of the maps of ``small``; those of a pretrained network are its own.

    Raises:
        UserError: The kind is unknown, or ``small`` is given a file.
        WeightsError: A pretrained kind has no file, or a file that is absent, unreadable or does not fit.
    """
    if kind not in get_args(EncoderKind):
        raise UserError(f"encoder {kind!r} is unknown; use one of {', '.join(get_args(EncoderKind))}")
    if kind == "small":
        if path is not None:
            raise UserError(f"the encoder small is trained with the field and reads no weights, not {path}")
        return SmallEncoder(channels, code)
    if path is None:
        whose = "mmaction2 (ResNet3dSlowOnly, depth 50)" if kind == "slowonly" else "torchvision"
        raise WeightsError(
            f"the encoder {kind} needs a file with its weights, as {whose} publishes them; "
            "nothing is downloaded"
        )
    return SlowOnlyEncoder(path, code) if kind == "slowonly" else TorchvisionEncoder(kind, path, code)
