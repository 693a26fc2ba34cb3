"""Nerfstudio plugins for scenes that move; imports nothing, since Nerfstudio discovers plugins early."""

__version__ = "0.1.0"
