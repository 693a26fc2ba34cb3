"""Recordings: several synchronised static cameras, in the layouts that are published."""
