"""Stage `tracks`: points followed through the clip."""
