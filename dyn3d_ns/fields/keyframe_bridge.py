"""The keyframe network: what happens between two keyframes beyond the velocity field.

Dyn3D's figure has a network of the bracketing keyframes and the elapsed fraction beside the velocity field;
its released code averages a scrambled query with it instead. Here it is a residual: a displacement with a
gate, zero at every keyframe and after the last one, and zero everywhere at the start of a training. Without
it the method is NVFi exactly.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dyn3d_ns.fields.encoding import encode
from dyn3d_ns.fields.keyframe_planes import PlaneProduct


class KeyframeBridge(nn.Module):
    """A gated displacement from position, elapsed fraction and the density features of both keyframes."""

    def __init__(self, feature_channels: int, width: int = 64, octaves: int = 4) -> None:
        """Build two hidden layers of ``width`` units and a last one that starts at zero."""
        super().__init__()
        self.octaves = octaves
        size = 3 * (1 + 2 * octaves) + 1 + 2 * feature_channels
        last = nn.Linear(width, 4)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(
            nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), last
        )

    def forward(
        self,
        x: Float[Tensor, "N 3"],
        t: Float[Tensor, "N 1"],
        keyframes: Float[Tensor, "K"],
        planes: PlaneProduct,
    ) -> Float[Tensor, "N 3"]:
        """Return the displacement at points ``x`` in [-1, 1] and times ``t``.

        The features of the keyframes get no gradient from here: the bridge is to explain motion, not to
        shape the planes.
        """
        if len(keyframes) < 2:
            return torch.zeros_like(x)
        spacing = (keyframes[-1] - keyframes[0]) / (len(keyframes) - 1)
        place = ((t[:, 0] - keyframes[0]) / spacing).clamp(0, len(keyframes) - 1)
        lower = place.floor().long().clamp(max=len(keyframes) - 2)
        s = (place - lower)[:, None]
        with torch.no_grad():
            features = [planes(x, lower), planes(x, lower + 1)]
        out = self.network(torch.cat([encode(x, self.octaves), s, *features], dim=-1))
        return torch.sigmoid(out[:, 3:]) * (s * (1 - s)) * out[:, :3]
