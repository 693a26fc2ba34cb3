"""The smallest Gaussian method: a scene that stays as it is. What `CONTRIBUTING.md` shows as an example."""

from dataclasses import dataclass, field

from dyn3d_ns.engine.presets import preset
from dyn3d_ns.gaussians.scene import StaticScene, point_parameters
from dyn3d_ns.gaussians.seeds.points import SeedPoints
from dyn3d_ns.models.gaussian_model import GaussianModel, GaussianModelConfig


@dataclass
class StaticModelConfig(GaussianModelConfig):
    """Settings of a scene that stays as it is."""

    _target: type = field(default_factory=lambda: StaticModel)
    """Target class to instantiate."""


class StaticModel(GaussianModel):
    """Gaussians that do not move."""

    config: StaticModelConfig

    def make_scene(self, seeds: SeedPoints) -> StaticScene:
        """Put round Gaussians on the seed points."""
        size = 0.03 * self.extent
        return StaticScene(point_parameters(seeds, self.config.sh_degree, opacity=0.3, max_scale=size))


# The preset: a file of method_configs/.
static = preset(
    "static-test",
    "A scene that stays as it is.",
    200,
    StaticModelConfig(max_gaussians=800),
    {
        "means": 1.6e-3,
        "scales": 8e-3,
        "quats": 3e-3,
        "opacities": 3e-2,
        "features_dc": 6e-3,
        "features_rest": 1.2e-3,
    },
)
