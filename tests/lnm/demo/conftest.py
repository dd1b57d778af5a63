"""Pictures that more than one file of tests looks at."""

import numpy as np
import pytest

from lnm.demo import scenes


@pytest.fixture(scope="session")
def images():
    """24 rendered stills, uint8 (24, 64, 64, 3)."""
    drawn = [scenes.draw(kind, seed) for kind in ("ocean", "clouds") for seed in range(12)]
    return np.stack([scenes.render(scene, [0.0], 64)[0] for scene in drawn])
