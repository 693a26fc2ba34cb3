"""One file a dataset: its dataparser, registered by one entry point in pyproject.toml.

Nerfstudio discovers plugins by importing them, and looks for dataparsers first, in every command.
"""

from dyn3d_ns import compat

compat.apply()
