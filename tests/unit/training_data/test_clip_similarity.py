from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring import clip
from pytest_wanlora.training_data.clip_similarity import ClipTextSimilarity


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
    modules = "clip_similarity attribution need report"
    script = (
        "import sys, importlib\n"
        f"for name in {modules.split()!r}:\n"
        "    importlib.import_module('pytest_wanlora.training_data.' + name)\n"
        "print(sorted({'torch', 'pytest', 'diffsynth', 'open_clip'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
