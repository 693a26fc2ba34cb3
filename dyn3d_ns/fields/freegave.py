"""FreeGave's networks (CVPR 2025, sections 3.1 to 3.3), for those who compare with the paper.

A motion code is predicted from the canonical position, soft weights over motion modes from the code, the
modes' twists from time, and an auxiliary deformation from position, time and code.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dyn3d_ns.fields.encoding import encode, mlp
from dyn3d_ns.fields.velocity import NetworkVelocityField


class CodeNetwork(nn.Module):
    """f_code: the motion code of a Gaussian from its canonical position (8 octaves, four layers of 128)."""

    def __init__(self, code_size: int, width: int = 128, octaves: int = 8) -> None:
        """Build the network for codes of ``code_size`` numbers."""
        super().__init__()
        self.octaves = octaves
        self.network = mlp([3 * (1 + 2 * octaves), width, width, width, code_size])

    def forward(self, params: nn.ParameterDict) -> Float[Tensor, "N L"]:
        """Predict the codes; positions get no gradient from here, as in the paper's code."""
        return self.network(encode(params["means"].detach(), self.octaves))


class NeckVelocityField(NetworkVelocityField):
    """f_neck and f_weight: twists of time, mixed with weights that a small network makes of the code."""

    def __init__(self, code_size: int, num_motions: int) -> None:
        """Build L → 4L → 4L → K and the network of time."""
        super().__init__(num_motions)
        self.neck = mlp([code_size, 4 * code_size, 4 * code_size, num_motions])

    def coefficients(self, t: float, codes: Float[Tensor, "N L"]) -> Float[Tensor, "N 6"]:
        """Mix the twists: coefficients of the six rigid bases, which do not depend on the position."""
        return self.neck(codes) @ self.twists(t)


class DeformationNetwork(nn.Module):
    """The auxiliary deformation D(p, t, z) → shift, turn and change of scale (Deformable-3DGS, light)."""

    def __init__(self, code_size: int, width: int = 128, layers: int = 6) -> None:
        """Build the trunk of ``layers`` layers with the input again at its middle; all outputs start near
        zero."""
        super().__init__()
        self.time_network = mlp([1 + 2 * 6, 256, 30])
        size = 3 * (1 + 2 * 8) + 30 + code_size
        half = layers // 2
        self.first = mlp([size] + [width] * half)
        self.second = mlp([width + size] + [width] * (layers - half))
        self.heads = nn.Linear(width, 10)
        nn.init.normal_(self.heads.weight, std=1e-4)
        nn.init.zeros_(self.heads.bias)

    def forward(
        self, means: Float[Tensor, "N 3"], codes: Float[Tensor, "N L"], t: float
    ) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 4"], Float[Tensor, "N 3"]]:
        """Return the changes of position, quaternion (added) and scale (factor minus one) at the time
        ``t``."""
        time = self.time_network(encode(means.new_tensor([[t]]), 6)).expand(len(means), -1)
        features = torch.cat([encode(means, 8), time, codes], dim=-1)
        hidden = torch.relu(self.first(features))
        changes = self.heads(torch.relu(self.second(torch.cat([hidden, features], dim=-1))))
        return changes[:, :3], changes[:, 3:7], changes[:, 7:]
