"""Draw the first frames of the suite `tiny-i2v`: `python -m tools.tiny_world.first_frames`.

One of each scenario's combination of factors, with a seed that no training set has.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pytest_wanlora.suite import load
from tools.tiny_world.draw import draw
from tools.tiny_world.factors import CATEGORIES, caption

FOLDER = Path("pytest_wanlora/suites/frames")
SEED = 9001


def main() -> None:
    """Command line."""
    for scenario in load("tiny").scenarios:
        rows = CATEGORIES[scenario.category].combinations()
        row = next(
            row for row in rows if scenario.prompt in [caption(scenario.category, row, n) for n in range(4)]
        )
        video = draw(scenario.category, np.array([row]), SEED)[0].numpy()
        Image.fromarray(video[0]).save(FOLDER / f"tiny-{scenario.category}.png", optimize=True)


if __name__ == "__main__":
    main()
