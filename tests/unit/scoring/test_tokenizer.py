from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora.scoring.tokenizer import ByteTokenizer

no_deadline = settings(deadline=None)  # the first call into torch takes its time


def test_row_is_begin_bytes_end_padding() -> None:
    ids = ByteTokenizer(8)("Ab")
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[1, ord("a") + 2, ord("b") + 2, 258, 0, 0, 0, 0]]


@no_deadline
@given(st.text(max_size=40))
def test_every_row_ends_with_its_highest_id(text: str) -> None:
    ids = ByteTokenizer(24)(text)[0]
    end = int(ids.argmax())
    assert int(ids[end]) == ByteTokenizer.EOS
    assert not ids[end + 1 :].any()
    assert int(ids.max()) < ByteTokenizer.VOCAB_SIZE


@no_deadline
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=20))
def test_encode_then_decode_gives_the_cleaned_text(text: str) -> None:
    tokenizer = ByteTokenizer(200)
    assert tokenizer.decode(tokenizer.encode(text)) == " ".join(text.lower().split())


@no_deadline
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40), st.integers(3, 30))
def test_long_text_is_cut_between_characters(text: str, context: int) -> None:
    tokenizer = ByteTokenizer(context)
    row = tokenizer(text)[0].tolist()
    clean = " ".join(text.lower().split())
    assert len(row) == context
    assert clean.startswith(tokenizer.decode(row))


def test_encode_is_not_cut() -> None:
    assert len(ByteTokenizer(4).encode("a red circle")) == len("a red circle")


def test_other_context_length_is_refused() -> None:
    with pytest.raises(ValueError, match="must be 8"):
        ByteTokenizer(8)("a", context_length=77)
    with pytest.raises(ValueError, match="at least 3"):
        ByteTokenizer(2)


def test_several_texts() -> None:
    tokenizer = ByteTokenizer(8)
    assert torch.equal(tokenizer(["a", "b"]), torch.cat([tokenizer("a"), tokenizer("b")]))
