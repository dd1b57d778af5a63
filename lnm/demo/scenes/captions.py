"""A sentence that is true of a scene's numbers; its wording is drawn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Pick = Callable[..., str]  # one of the wordings it is given


def caption(kind: str, n: dict, rng: np.random.Generator) -> str:
    """A sentence that is true of the numbers `n` of a scene; wording varies with `rng`."""
    write = {"ocean": _ocean, "clouds": _clouds, "sunset": _sunset, "pond": _pond, "dusk": _dusk,
             "rapids": _rapids}[kind]
    return write(n, lambda *options: options[rng.integers(len(options))])


def _sunset(n: dict, pick: Pick) -> str:
    event = "sunrise" if n["rising"] else "sunset"
    sun = (pick(f"the sun just below the horizon at {event}", f"an afterglow over the sea at {event}")
           if n["sun_elevation"] < 0 else
           pick(f"{event} over the sea", f"the sun over the sea at {event}", f"a golden {event} over calm water"))
    clear = n["cover"] < 0.25
    return sun + (pick(" under a clear sky", "") if clear else pick(" with clouds", " under glowing clouds"))


def _pond(n: dict, pick: Pick) -> str:
    drops = (pick("a few raindrops on a pond", "rings of raindrops on a quiet pond") if n["rain"] < 9
             else pick("rain on a pond", "raindrops making rings on a pond") if n["rain"] < 20
             else pick("heavy rain on a pond", "a pond in heavy rain"))
    return drops + (pick(" in the shade of trees", " with trees reflected in the water") if n["trees"] > 24
                    else pick(" under a grey sky", " on a grey day"))


def _dusk(n: dict, pick: Pick) -> str:
    early = n["sun_elevation"] > -8
    stars = (pick("the first stars over dark hills", "stars over dark hills") if early
             else pick("a starry sky over dark hills", "a sky full of stars over hills"))
    return f"{stars} {pick('at dusk', 'at nightfall') if early else pick('at night', 'at nightfall')}"


def _rapids(n: dict, pick: Pick) -> str:
    water = (pick("a river with foam", "foam on a river") if n["foam_from"] > 0.6
             else pick("a fast river with foam", "white water of a river") if n["foam_from"] > 0
             else pick("a river full of foam", "a rough river with foam"))
    return water + (pick(" between rocks", " running over rocks") if n["rocks"] < 2 else "") + (
        pick(" by day", " on a bright day") if n["sun_elevation"] > 25 else pick(" in the late afternoon", ""))


def _ocean(n: dict, pick: Pick) -> str:
    when, cover = _time_of_day(n, pick), n["cover"]
    sea = (pick("a calm sea", "gentle ripples on the ocean", "calm ocean water") if n["wind"] < 6
           else pick("ocean waves", "waves on the open sea") if n["wind"] < 10
           else pick("rough ocean waves", "a rough sea with foam"))
    sky = (pick("under a clear sky", "under an open sky") if cover < 0.3
           else pick("under scattered clouds", "under a partly cloudy sky") if cover < 0.6
           else pick("under a cloudy sky", "under heavy clouds"))
    return f"{sea} {sky} {when}"


def _clouds(n: dict, pick: Pick) -> str:
    when, cover, elevation = _time_of_day(n, pick), n["cover"], n["sun_elevation"]
    amount = (pick("a few clouds drifting", "small clouds") if cover < 0.4
              else pick("clouds drifting", "scattered clouds") if cover < 0.58
              else pick("thick clouds", "a sky full of clouds"))
    ground = pick(" above dark hills", " over a hilly horizon") if n["hills"] > 0.03 and n["horizon"] < 0.97 else ""
    sky = (pick("in an orange sky", "in a glowing sky") if elevation < 8 else
           pick("in a pale sky", "in a warm sky") if elevation < 25 else pick("in a blue sky", "across the blue sky"))
    return f"{amount} {sky}{ground} {when}"


def _time_of_day(n: dict, pick: Pick) -> str:
    elevation = n["sun_elevation"]
    return (pick("at sunset", "at sunrise", "with the sun low on the horizon") if elevation < 8
            else pick("in the golden evening light", "in the late afternoon") if elevation < 25
            else pick("by day", "at noon", "on a bright day"))
