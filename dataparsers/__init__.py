"""One file a dataset: its dataparser, registered by one entry point in pyproject.toml."""
