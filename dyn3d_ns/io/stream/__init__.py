"""Streams on disk: integer planes, entropy coded, a file a frame; knows no model. docs/stream-format.md."""
