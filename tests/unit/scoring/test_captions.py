"""Tokens counted without torch, against open_clip's own tokenizer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring import captions
from pytest_wanlora.suite import load

NAMED = "ViT-B-32-quickgelu"
TOKENIZER = open_clip.get_tokenizer(NAMED)
LETTERS = st.characters(codec="utf-8")


def count(text: str) -> int:
    """Tokens as the module counts them, from the message about a caption that is far too long."""
    padded = f"{text} {'word ' * 100}"
    ((_, problem),) = captions.too_long({"x": padded}, NAMED, None)
    return int(problem.split()[1]) - len(TOKENIZER.encode("word " * 100))


@given(st.text(LETTERS, max_size=60))
def test_as_many_tokens_as_open_clip(text: str) -> None:
    assert count(text) == len(TOKENIZER.encode(f"{text} {'word ' * 100}")) - 100


@pytest.mark.parametrize(
    "text",
    [
        "a neon-lit street, it's 2026 &amp; raining",
        "검은 자동차",
        "don't I'LL they've",
        "ﬁne ͅ \u017f",
        "🙂" * 9,
    ],
)
def test_texts_that_tokenizers_differ_in(text: str) -> None:
    assert count(text) == len(TOKENIZER.encode(text))


def test_the_limit_is_exact() -> None:
    fits, cut = "word " * 75, "word " * 76
    found = dict(captions.too_long({"fits": fits, "cut": cut}, NAMED, None))
    assert found == {"cut": "has 76 tokens and CLIP reads 75, the rest would be cut"}


def test_the_embedded_model_counts_bytes() -> None:
    suite = load("tiny")
    config = Path(captions.__file__).parents[1] / "tiny" / "clip.json"
    room = json.loads(config.read_text())["text_cfg"]["context_length"] - 2
    texts = {"fits": "a" * room, "cut": "a" * (room + 1)}
    assert [name for name, _ in captions.too_long(texts, suite.scoring.clip.model, config)] == ["cut"]


def test_a_model_that_open_clip_does_not_know() -> None:
    with pytest.raises(ScoringError, match="neither a model of open_clip nor"):
        list(captions.too_long({"x": "y"}, "ViT-B-23", None))


def test_a_configuration_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "clip.json").write_text("{")
    with pytest.raises(ScoringError, match="not readable JSON"):
        list(captions.too_long({"x": "y"}, "clip.json", tmp_path / "clip.json"))


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from pytest_wanlora.scoring.captions import too_long; "
        f"assert list(too_long({{'x': 'word ' * 90}}, {NAMED!r}, None)); "
        "assert not {'torch', 'open_clip'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
