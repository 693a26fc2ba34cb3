"""``dyn3d-imported``: a scene that `dyn3d import` made of a file, shown and exported like a trained one."""

from dataclasses import dataclass, field
from typing import Literal

from dyn3d_ns.gaussians.imported import ImportedScene
from dyn3d_ns.gaussians.seeds.points import SeedPoints
from dyn3d_ns.io.errors import UserError
from dyn3d_ns.models.gaussian_model import GaussianModel, GaussianModelConfig


@dataclass
class ImportedModelConfig(GaussianModelConfig):
    """Settings of an imported scene."""

    _target: type = field(default_factory=lambda: ImportedModel)
    """Target class to instantiate."""
    densify: Literal["mcmc", "default", "none"] = "none"
    """Nothing is trained."""


class ImportedModel(GaussianModel):
    """Gaussians out of a file."""

    config: ImportedModelConfig
    scene: ImportedScene

    def make_scene(self, seeds: SeedPoints) -> ImportedScene:
        """Return an empty scene, which the checkpoint fills."""
        return ImportedScene.empty(self.config.sh_degree)

    def choose_canonical_index(self) -> int:
        """Return the first frame, whose values the parameters are."""
        return 0

    def plan(self, steps: int) -> None:
        """Refuse a training.

        Raises:
            UserError: always.
        """
        raise UserError(
            "dyn3d-imported is not trained: `dyn3d import FILE` makes such a scene of a file of Gaussians; "
            "to train on images choose another method, such as dyn3d-velocity"
        )
