"""Rendered natural scenes with captions and a true continuation.

Six scenes, each a deterministic function of (seed, time): an open ocean by a directional wave
spectrum, a cloudscape time-lapse, the sun setting or rising over water, a pond in the rain, stars over
hills at dusk, and white water over rocks. All are training clips for the built-in temporal layers, the
first five training stills for the built-in checkpoint, and two are the built-in clips (`data/`).
Everything about a scene (camera, wind, sun, cover, colours) is drawn once from its seed; the caption and
the structured description are read off the same numbers, and `true_motion` says how things move in the
picture.

    lnm scenes                            remake data/ and draw a contact sheet of it
    lnm scenes --stills 40 --sheet FILE   a sheet of stills of all scenes, and nothing else

Sources: Phillips spectrum and its animation by deep-water dispersion, Tessendorf, "Simulating Ocean
Water" (2001); Schlick's approximation of Fresnel reflection (1994); fractal fields by spectral
synthesis, Peitgen & Saupe (1988); textures carried by a flow, Neyret, "Advected Textures" (2003);
capillary-gravity waves of a drop, Lamb, "Hydrodynamics" (1932).
"""

from lnm.demo.scenes.clips import CLIP_CRF, CLIP_FPS, CLIP_FRAMES, CLIP_SIZE, CLIPS, render_clip
from lnm.demo.scenes.motion import true_motion
from lnm.demo.scenes.physics import GRAVITY, STAR_LAPSE, SUN_LAPSE, TIME_LAPSE, TURN
from lnm.demo.scenes.pond import RAIN
from lnm.demo.scenes.renderer import Renderer, render
from lnm.demo.scenes.scene import KINDS, Scene, draw, paraphrases
from lnm.demo.scenes.sky import Sky
from lnm.demo.scenes.waves import WaveField

__all__ = ["CLIPS", "CLIP_CRF", "CLIP_FPS", "CLIP_FRAMES", "CLIP_SIZE", "GRAVITY", "KINDS", "RAIN", "STAR_LAPSE",
           "SUN_LAPSE", "TIME_LAPSE", "TURN", "Renderer", "Scene", "Sky", "WaveField", "draw", "paraphrases", "render",
           "render_clip", "true_motion"]
