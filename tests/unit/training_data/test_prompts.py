from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_wanlora.training_data.prompts import PromptStore


@given(st.lists(st.lists(st.none() | st.text(), max_size=4), max_size=5))
def test_prompts_come_back_by_row(chunks: list[list[str | None]]) -> None:
    with PromptStore() as store:
        for chunk in chunks:
            store.extend(chunk)
        flat = [prompt or "" for chunk in chunks for prompt in chunk]
        assert len(store) == len(flat)
        assert [store[row] for row in range(len(flat))] == flat
        assert list(store.present()) == [bool(prompt) for prompt in flat]


def test_reading_and_writing_may_alternate() -> None:
    with PromptStore() as store:
        store.extend(["도시", None])
        assert store[0] == "도시"
        store.extend(["바다"])
        assert [store[row] for row in range(3)] == ["도시", "", "바다"]
