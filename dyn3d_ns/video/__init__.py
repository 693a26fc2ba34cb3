"""From a video to a 4-D scene: frames, flow, tracks, masks, cameras, depth, adjustment and fusion."""
