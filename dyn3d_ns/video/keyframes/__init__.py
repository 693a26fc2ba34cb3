"""Stage `keyframes`: the frames with most motion."""
