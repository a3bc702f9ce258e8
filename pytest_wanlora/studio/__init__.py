"""The DiffSynth pipeline of one process, and what renders and scores with it.

`pipeline` loads it and renders jobs, `apply_lora` puts LoRAs on and off, `producer` adds the scorers.
torch and diffsynth are imported when a model is loaded, not before.
"""

from __future__ import annotations

from pytest_wanlora.studio.pipeline import STUDIO_VERSION, Rendered, Renderer, Studio, frames_sha256, quiet

__all__ = ["STUDIO_VERSION", "Rendered", "Renderer", "Studio", "frames_sha256", "quiet"]
