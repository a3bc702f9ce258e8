"""A model that DiffSynth does not know, with the suite that gates it."""

from __future__ import annotations

from pathlib import Path

from pytest_wanlora import Model


def register() -> None:
    """Add the model's classes to DiffSynth's table; here it only says that it was called."""
    import diffsynth.configs

    diffsynth.configs.MODEL_CONFIGS.append({"model_hash": "0", "model_name": "other"})


OTHER = Model(register=register, version=2, suite=Path(__file__).with_name("other_model.yaml"))
