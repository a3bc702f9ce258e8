from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_wanlora.errors import DataError, ScoringError
from pytest_wanlora.scoring import clip
from pytest_wanlora.training_data.clip_similarity import ClipTextSimilarity, nearest
from pytest_wanlora.training_data.rules import packaged_rules
from tests.unit.training_data.test_survey import Nearest


class FakeScorer:
    """A CLIP that reads five words: a text is the direction of its first letter."""

    def __init__(self, settings: object, *, device: str) -> None:
        self.embedded: list[str] = []

    def check_caption(self, caption: str) -> None:
        if len(caption.split()) > 5 or "unreadable" in caption:
            raise ScoringError("too long")

    def embed_text(self, caption: str) -> NDArray[np.float32]:
        self.embedded.append(caption)
        direction = np.zeros(26, dtype=np.float32)
        direction[ord(caption[0]) - ord("a")] = 1
        return direction


@pytest.fixture
def similarity(monkeypatch: pytest.MonkeyPatch) -> ClipTextSimilarity:
    monkeypatch.setattr(clip, "ClipScorer", FakeScorer)
    settings: Any = object()
    return ClipTextSimilarity(settings)


def embedded(similarity: ClipTextSimilarity) -> list[str]:
    scorer: Any = similarity._scorer
    return list(scorer.embedded)


def test_cosines_of_every_text_with_every_other(similarity: ClipTextSimilarity) -> None:
    found = similarity.cosines(["apple", "bread", "cake"], ["ants", "cats"])
    assert found.tolist() == [[1, 0], [0, 0], [0, 1]]


def test_descriptions_are_embedded_once(similarity: ClipTextSimilarity) -> None:
    similarity.cosines(["apple"], ["ants", "cats"])
    similarity.cosines(["bread"], ["ants", "cats"])
    assert embedded(similarity) == ["ants", "cats", "apple", "bread"]


def test_a_long_prompt_is_cut_at_a_word(similarity: ClipTextSimilarity) -> None:
    similarity.cosines(["a tram climbs a steep street of the old town at night"], ["ants"])
    assert embedded(similarity)[-1] in "a tram climbs a steep street"
    assert len(embedded(similarity)[-1].split()) >= 4


def test_a_word_that_cannot_be_read_is_refused(similarity: ClipTextSimilarity) -> None:
    with pytest.raises(ScoringError):
        similarity.cosines(["unreadable text"], ["ants"])


def test_importing_the_package_does_not_import_torch_or_pytest() -> None:
    modules = "clip_similarity attribution balance report"
    script = (
        "import sys, importlib\n"
        f"for name in {modules.split()!r}:\n"
        "    importlib.import_module('pytest_wanlora.training_data.' + name)\n"
        "print(sorted({'torch', 'pytest', 'diffsynth', 'open_clip'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_nearest_description_with_its_softmax() -> None:
    place, confidence, cosine = nearest(Nearest(), ["x"], packaged_rules())[0]
    assert packaged_rules().names[place] == "urban"
    assert cosine == pytest.approx(0.1)
    assert confidence == pytest.approx(np.exp(10) / (np.exp(10) + 3))


def test_no_prompts_ask_nothing() -> None:
    asked = Nearest()
    assert nearest(asked, [], packaged_rules()) == []
    assert asked.asked == []


@pytest.mark.parametrize("value", [np.full((1, 4), np.nan), np.zeros((1, 3)), np.zeros((2, 4))])
def test_a_model_that_fails_is_refused(value: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Nearest, "cosines", lambda *_: value)
    with pytest.raises(DataError, match="text similarity"):
        nearest(Nearest(), ["x"], packaged_rules())
