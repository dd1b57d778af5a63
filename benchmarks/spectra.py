"""How widely the Inception features of real footage spread: python -m benchmarks.spectra (needs footage/, weights/).

Writes eval/claims/spectra.json, from which the ledger simulates what FID few frames score when nothing differs.
"""

from __future__ import annotations

from pathlib import Path

from eval.claims.spread import FILE, fit_power_law
from eval.features.inception import INCEPTION_FILE, Inception
from lnm.demo import footage
from lnm.files import sha256, write_json
from lnm.project import root
from lnm.video import read

FPS = 12.5  # as the pipeline reads the rapids


def measure(home: Path) -> dict:
    """What spectra.json holds; raises UserError where footage or weights are not there."""
    network = Inception(home / "weights" / INCEPTION_FILE, "cpu")
    clips = {}
    for name in sorted(footage.CATALOGUE):
        path = footage.path(name, home / "footage")
        frames = read(path, fps=FPS).frames
        trace, exponent = fit_power_law(network(frames))
        clips[name] = {"trace": round(trace, 2), "exponent": round(exponent, 3), "frames": len(frames),
                       "sha256": sha256(path)}
    return {"made_by": "python -m benchmarks.spectra", "fps": FPS, "inception_sha256": network.sha256,
            "clips": dict(sorted(clips.items(), key=lambda one: one[1]["trace"]))}


if __name__ == "__main__":
    write_json(FILE, measure(root()))
    print(FILE.read_text(encoding="utf-8"))
