"""A scene as files of other tools: one file a format."""
