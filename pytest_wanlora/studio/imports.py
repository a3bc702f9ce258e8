"""Import what lives as long as the process."""

from __future__ import annotations

import gc
import importlib
import sys


def import_for_good(name: str) -> None:
    """Import a large module while the garbage collector rests, which never looks at what came with it.

    torch, DiffSynth and open_clip are some 600,000 objects. The collector would search them again and again
    while they are made, which is a fifth of the time that importing them takes, at every full collection
    afterwards, and several times while Python ends, for more than a second.
    """
    if name in sys.modules:
        return
    enabled = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(name)
        gc.freeze()
    finally:
        if enabled:
            gc.enable()
