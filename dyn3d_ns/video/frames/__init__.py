"""Stage `frames`: a video or a folder becomes numbered pictures with times."""
