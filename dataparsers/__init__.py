"""One file a dataset: its dataparser, registered by one entry point in pyproject.toml."""

from dyn3d_ns import compat

compat.apply()
