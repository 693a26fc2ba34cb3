"""Streaming methods: a scene trained frame by frame, of which only what changes is stored."""
