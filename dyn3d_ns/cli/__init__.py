"""The `dyn3d` command: camera paths, exports and motion metrics."""
