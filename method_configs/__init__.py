"""One file a method: its configs, each registered by one entry point in pyproject.toml."""
