"""Nerfstudio plugins for scenes that move. This module imports nothing: Nerfstudio discovers plugins early."""

__version__ = "0.1.0"
