"""Settings of ``dyn3d-velocity-planes``; the defaults are the paper's."""

from dataclasses import dataclass, field
from typing import Literal

from nerfstudio.models.base_model import ModelConfig


def _model() -> type:
    from dyn3d_ns.models.planes.model import Dyn3DVelocityPlanesModel

    return Dyn3DVelocityPlanesModel


@dataclass
class Dyn3DVelocityPlanesModelConfig(ModelConfig):
    """Settings of the volumetric method; the defaults are the paper's."""

    _target: type = field(default_factory=_model)
    """Target class to instantiate."""
    enable_collider: bool = False
    """Rays are cut by the scene box and the occupancy instead."""
    eval_num_rays_per_chunk: int = 8192
    """Rays rendered at once in evaluation."""
    keyframes: int = 0
    """Keyframes over the observed time; 0 for one every three observed frames (4 to 24)."""
    keyframe_net: Literal["none", "bridge"] = "bridge"
    """Network between keyframes beside the velocity field; none is NVFi exactly."""
    start_resolution: int = 64
    """Points along an axis of the space planes at the start."""
    resolution: int = 200
    """Points along an axis at the end."""
    upsample_parts: tuple[float, ...] = (1 / 15, 2 / 15, 3 / 15, 4 / 15, 5 / 15)
    """Parts of the training after which the planes are refined, evenly in the logarithm of the resolution."""
    density_channels: int = 24
    """Channels of the density planes."""
    appearance_channels: int = 48
    """Channels of the appearance planes."""
    appearance_size: int = 32
    """Features that the colour network gets from them."""
    color_width: int = 128
    """Units of the colour network's hidden layers."""
    color_octaves: int = 6
    """Octaves of position and direction that the colour network sees."""
    density_shift: float = -10.0
    """Added to the density before softplus: -10 for objects, -5 for rooms."""
    density_scale: float = 50.0
    """Density per half-width of the scene's cube of a field value of one (25 a world unit, a box of 4)."""
    velocity_width: int = 128
    """Units of a hidden layer of the velocity and the acceleration network."""
    velocity_layers: int = 5
    """Hidden layers of both."""
    velocity_octaves: int = 3
    """Octaves of sines and cosines of position that both see."""
    time_octaves: int = 3
    """The same of time."""
    occupancy_cells: int = 128
    """Cells along an axis of the occupancy cubes."""
    occupancy_period: int = 16
    """Steps between two updates of the occupancy, of one keyframe and its times each."""
    occupancy_warmup: float = 0.02
    """Part of the training before the first update."""
    samples_per_voxel: float = 2.0
    """Samples along a ray per spacing of the planes."""
    explore: float = 1.0
    """Part of the samples without weight that the networks see all the same; 1 for no proposal."""
    max_samples_per_ray: int = 1024
    """Most samples of a ray."""
    keyframe_share: float = 0.5
    """Part of the rays taken from images at keyframes, which need no advection."""
    reach_part: float = 0.0
    """Part of the training by the end of which times as far from keyframes as there are have been seen."""
    collocation_points: int = 65_536
    """Points of a step at which the physics losses are taken; the paper has 262,144 for objects."""
    collocation_period: int = 1
    """Steps between two evaluations of the physics losses, whose weight grows accordingly."""
    divergence_weight: float = 5.0
    """Weight of the squared divergence."""
    transport_weight: float = 0.1
    """Weight of the squared difference of material and learned acceleration."""
    physics_ramp: float = 0.0
    """Part of the training over which the velocity comes to feel the physics losses, with its square."""
    steady_weight: float = 0.0
    """Weight of the relative rates of what a free body keeps, from half of the ramp on; not in the paper."""
    sparsity_weight: float = 8e-4
    """Weight of the density planes' distance from empty and unchanging."""
    variation_weight: float = 1e-2
    """Weight of the planes' total variation."""
    bridge_weight: float = 1e-3
    """Weight of the bridge's mean squared displacement."""
    planes_per_step: int = 0
    """Planes that the regularisers see in a step, in turn and weighted accordingly; 0 for all."""
