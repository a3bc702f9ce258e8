"""The embedded model: whole, small, recognised by DiffSynth, and able to tell its world."""

from __future__ import annotations

import hashlib
import json

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from pytest_wanlora.scoring.frechet import frechet_distance
from pytest_wanlora.scoring.scorer import Scorer
from pytest_wanlora.suite import load
from pytest_wanlora.tiny.registration import FOLDER, register
from tools.tiny_world.draw import draw
from tools.tiny_world.factors import CATEGORIES, SCENARIOS, caption, split

Pixels = NDArray[np.uint8]
WEIGHTS = ("clip", "dit", "text_encoder", "vae", "video_features")


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(load("tiny").scoring, device="cpu")


def test_the_weights_are_small() -> None:
    assert sum((FOLDER / f"{name}.safetensors").stat().st_size for name in WEIGHTS) <= 24e6


def test_the_suite_states_the_digest_of_every_file() -> None:
    suite = load("tiny")
    stated = {
        **suite.model.sha256,
        "clip.safetensors": suite.scoring.clip.sha256,
        "video_features.safetensors": suite.scoring.video_features.sha256,
        "reference.safetensors": suite.scoring.reference_sha256,
    }
    for name in ("tiny-pair", "tiny-4step"):
        for each in load(name).stack:
            stated |= each.sha256
    files = list(FOLDER.glob("*.safetensors"))
    assert len(files) == len(WEIGHTS) + 1 + 3
    for path in files:
        assert stated[path.name] == hashlib.sha256(path.read_bytes()).hexdigest(), path.name


def test_a_second_registration_adds_nothing() -> None:
    from diffsynth.configs import MODEL_CONFIGS

    register()
    count = len(MODEL_CONFIGS)
    register()
    assert len(MODEL_CONFIGS) == count


def test_the_suite_asks_for_captions_of_the_world() -> None:
    suite = load("tiny")
    assert {each.category: each.prompt for each in suite.scenarios} == {
        name: caption(name, row) for name, row in SCENARIOS.items()
    }


def test_the_reference_has_enough_videos_of_every_category() -> None:
    sets = load_file(FOLDER / "reference.safetensors")
    assert set(sets) == set(SCENARIOS)
    assert all(len(rows) >= 512 for rows in sets.values())


@pytest.mark.parametrize("name", CATEGORIES)
def test_clip_prefers_the_right_caption(scorer: Scorer, name: str) -> None:
    rows = split(name, "train")
    video = draw(name, np.array([rows[0]]), seed=80001)[0].numpy()
    right = scorer.score(video, caption(name, rows[0])).scores["clip_cosine"]
    wrong = scorer.score(video, caption(name, rows[-1])).scores["clip_cosine"]  # differs in every factor
    assert right > 0.9
    assert wrong < right - 0.1


def test_distance_grows_with_damage(scorer: Scorer) -> None:
    reference = load_file(FOLDER / "reference.safetensors")
    noise = np.random.default_rng(1)
    for name, combination in SCENARIOS.items():
        truth = list(draw(name, np.array([combination] * 6), seed=80002).numpy())

        def blurred(video: Pixels, radius: float) -> Pixels:
            return np.stack([cv2.GaussianBlur(frame, (0, 0), radius) for frame in video]).astype(np.uint8)

        def distance(videos: list[Pixels], name: str = name) -> float:
            return frechet_distance(np.stack([scorer.features(v) for v in videos]), reference[name])

        found = [
            distance(truth),
            distance([blurred(video, 1.5) for video in truth]),
            distance([blurred(video, 3.0) for video in truth]),
            distance([noise.integers(0, 256, v.shape, dtype=np.uint8) for v in truth]),
        ]
        assert found == sorted(found), f"{name}: {found}"


def test_the_card_quotes_the_figures() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    figures = json.loads((FOLDER / "figures.json").read_text(encoding="utf-8"))
    for name, found in figures["vae_psnr_db"].items():
        assert found["whole"] >= 26, name
        assert found["moving"] >= 18, name
        assert f"{found['whole']:.1f}" in card
    assert figures["clip_retrieval_1_of_32"]["held_out"]["all"] >= 0.9
    assert figures["feature_accuracy_true_held_out"]["all"] >= 0.95
    assert figures["feature_accuracy_base_model"]["all"] >= 0.8
    found = figures["frechet_distance"]["all"]
    order = [found[what] for what in ("noise", "blurred truth", "base model", "held-out truth")]
    assert order == sorted(order, reverse=True)


def test_the_card_states_every_hash() -> None:
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    examples = sorted(FOLDER.with_name("examples").rglob("*.safetensors"))
    assert len(examples) == 6
    for path in [*FOLDER.glob("*.safetensors"), *examples]:
        assert hashlib.sha256(path.read_bytes()).hexdigest()[:16] in card, path.name
