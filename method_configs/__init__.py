"""One file a method: what ``ns-train`` lists, and its settings."""
