"""`scipy.special`, imported with the first number that is asked of it.

Its import takes as long as reading a checkpoint, and no run needs it before its first video is rendered.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:  # noqa: ANN401 - scipy publishes no types
    from scipy import special

    return getattr(special, name)
