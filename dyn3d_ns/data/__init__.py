"""Datamanagers and pipelines that hand out cameras with times, images and metrics by split."""
