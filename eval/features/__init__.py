"""Deep features of frames: Inception-v3, CLIP, I3D, and the cache of what they give."""
