"""``dyn3d-imported``: what `dyn3d import` writes."""

from dyn3d_ns.engine.presets import preset
from dyn3d_ns.models.imported import ImportedModelConfig

dyn3d_imported = preset(
    "dyn3d-imported",
    "Gaussians out of a file, by `dyn3d import`; not for training.",
    1,
    ImportedModelConfig(),
    {},
)
