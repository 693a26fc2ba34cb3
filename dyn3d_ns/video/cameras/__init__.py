"""Cameras of a clip: structure from motion on tracks of what does not move, and what else gives poses."""
