"""Constants of nature and of film, for all scenes."""

GRAVITY = 9.81  # m/s^2
TURN = 360 / 86164  # degrees a second that the sky turns
# seconds of sky in one second of film; water keeps its own time
TIME_LAPSE, SUN_LAPSE, STAR_LAPSE = 40.0, 60.0, 200.0
