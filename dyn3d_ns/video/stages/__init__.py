"""The stages of `dyn3d process`, one file each: they read and write the tree and call pure functions."""
