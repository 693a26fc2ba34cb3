"""The keyframe radiance field: density and appearance as products of six planes, at K moments of time.

HexPlane's and K-Planes' factorisation as NVFi uses it: three planes over two axes of space, three over an
axis and the keyframes. It is only ever read at keyframes; other times are reached by advection.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dyn3d_ns.fields.encoding import encode, mlp
from dyn3d_ns.fields.plane_product import SPACE_AXES, plane_product


class PlaneProduct(nn.Module):
    """Six planes whose samples are multiplied; time planes start at one, which means "does not change"."""

    def __init__(self, resolution: int, keyframes: int, channels: int, scale: float) -> None:
        """Draw the space planes from ``scale`` times U(0.1, 0.5).

        Args:
            resolution: Grid points along each axis of space.
            keyframes: Rows of the time planes.
            channels: Channels of every plane; multiples of 16 take the fast kernel on a CPU.
            scale: Factor of the space planes' values.
        """
        super().__init__()
        shape = (resolution, resolution, channels)
        self.space = nn.ParameterList(
            [nn.Parameter(scale * torch.empty(shape).uniform_(0.1, 0.5)) for _ in SPACE_AXES]
        )
        self.time = nn.ParameterList(
            [nn.Parameter(torch.ones(keyframes, resolution, channels)) for _ in range(3)]
        )

    def forward(self, points: Float[Tensor, "N 3"], rows: Int[Tensor, "N"]) -> Float[Tensor, "N C"]:
        """Evaluate the product at points in [-1, 1] and keyframes."""
        return plane_product(points, rows, (*self.space, *self.time))

    @property
    def resolution(self) -> int:
        """Grid points along an axis."""
        return self.space[0].shape[0]


class KeyframePlanes(nn.Module):
    """Density and colour at the keyframes."""

    def __init__(
        self,
        resolution: int,
        keyframes: int,
        density_channels: int = 24,
        appearance_channels: int = 48,
        appearance_size: int = 32,
        color_width: int = 128,
        color_octaves: int = 6,
        density_shift: float = -10.0,
    ) -> None:
        """Build planes and colour network.

        Args:
            resolution: Grid points along each axis of space.
            keyframes: Number of keyframes.
            density_channels: Channels of the density planes; their sum is the density before softplus.
            appearance_channels: Channels of the appearance planes.
            appearance_size: Features that a bias-free linear layer makes of them.
            color_width: Units of the colour network's two hidden layers.
            color_octaves: Octaves of view direction and position, the colour network's other inputs.
            density_shift: Added before softplus; the more negative, the emptier the start.
        """
        super().__init__()
        self.density_shift, self.color_octaves = density_shift, color_octaves
        self.density_planes = PlaneProduct(resolution, keyframes, density_channels, 0.8)
        self.appearance_planes = PlaneProduct(resolution, keyframes, appearance_channels, 1.0)
        self.basis = nn.Linear(appearance_channels, appearance_size, bias=False)
        encoded = 2 * 3 * (1 + 2 * color_octaves)
        self.color_network = mlp([appearance_size + encoded, color_width, color_width, 3])

    @property
    def resolution(self) -> int:
        """Grid points along an axis."""
        return self.density_planes.resolution

    @property
    def keyframes(self) -> int:
        """Number of keyframes."""
        return self.density_planes.time[0].shape[0]

    def planes(self) -> list[nn.Parameter]:
        """Return all planes."""
        return [*self.density_planes.parameters(), *self.appearance_planes.parameters()]

    def networks(self) -> list[nn.Parameter]:
        """Return the parameters of the colour network and of the layer before it."""
        return [*self.basis.parameters(), *self.color_network.parameters()]

    def density(self, points: Float[Tensor, "N 3"], rows: Int[Tensor, "N"]) -> Float[Tensor, "N"]:
        """Return the density at points of a keyframe, not yet scaled to a unit of length."""
        features = self.density_planes(points, rows)
        return nn.functional.softplus(features.sum(-1) + self.density_shift)

    def color(
        self, points: Float[Tensor, "N 3"], rows: Int[Tensor, "N"], directions: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N 3"]:
        """Return the colour at points of a keyframe, seen along unit directions."""
        features = self.basis(self.appearance_planes(points, rows))
        seen = encode(torch.cat([directions, points], dim=-1), self.color_octaves)
        return torch.sigmoid(self.color_network(torch.cat([features, seen], dim=-1)))


def resize_plane(plane: Float[Tensor, "H W C"], height: int, width: int) -> Float[Tensor, "H2 W2 C"]:
    """Resample a plane bilinearly, its outermost points staying where they are."""
    resized = nn.functional.interpolate(
        plane.permute(2, 0, 1)[None], size=(height, width), mode="bilinear", align_corners=True
    )
    return resized[0].permute(1, 2, 0).contiguous()


@torch.no_grad()
def upsample(planes: KeyframePlanes, resolution: int, optimizer: torch.optim.Optimizer | None) -> None:
    """Resample all planes to a resolution, and the optimizer's moments with them.

    The planes become new parameters, since autograd remembers the size of the old ones; the optimizer's
    groups get them in the old ones' places.
    """
    for product in (planes.density_planes, planes.appearance_planes):
        for held, is_space in ((product.space, True), (product.time, False)):
            for i, old in enumerate(held):
                height = resolution if is_space else old.shape[0]
                held[i] = nn.Parameter(resize_plane(old.detach(), height, resolution))
                if optimizer is not None:
                    _replace(optimizer, old, held[i], height, resolution)


def _replace(
    optimizer: torch.optim.Optimizer, old: nn.Parameter, new: nn.Parameter, height: int, width: int
) -> None:
    for group in optimizer.param_groups:
        group["params"] = [new if p is old else p for p in group["params"]]
    state = optimizer.state.pop(old, None)
    if state is not None:
        optimizer.state[new] = {
            name: resize_plane(value, height, width)
            if isinstance(value, Tensor) and value.shape == old.shape
            else value
            for name, value in state.items()
        }


def resolution_schedule(start: int, final: int, stages: int) -> list[int]:
    """Return the resolutions after each of ``stages`` upsamplings, evenly spaced in the logarithm."""
    return [
        round(math.exp(math.log(start) + (math.log(final / start)) * (i + 1) / stages)) for i in range(stages)
    ]


def keyframe_times(count: int, first: float, last: float) -> list[float]:
    """Return the times of ``count`` evenly spaced keyframes over the observed time."""
    if count < 1:
        raise ValueError(f"there are {count} keyframes; at least 1 is needed")
    return [first] if count == 1 else [first + (last - first) * k / (count - 1) for k in range(count)]


def default_keyframes(observed_frames: int) -> int:
    """Return one keyframe every three observed frames, between 4 and 24."""
    return min(max(round(observed_frames / 3) + 1, 4), 24)


def nearest_keyframe(times: Float[Tensor, "*B"], keyframes: Float[Tensor, "K"]) -> Int[Tensor, "*B"]:
    """Return the keyframe nearest to each time; times after the last keyframe have the last one."""
    if len(keyframes) == 1:
        return torch.zeros_like(times, dtype=torch.long)
    spacing = (keyframes[-1] - keyframes[0]) / (len(keyframes) - 1)
    return torch.round((times - keyframes[0]) / spacing).long().clamp(0, len(keyframes) - 1)
