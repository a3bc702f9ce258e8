from __future__ import annotations

from pytest_wanlora.text_table import aligned


def test_columns_are_aligned_to_the_left_or_right() -> None:
    assert aligned([["name", "score"], ["a", "1"], ["longer", "12.5"]], left={0}) == [
        "name    score",
        "a           1",
        "longer   12.5",
    ]


def test_wide_characters_take_two_columns() -> None:
    assert aligned([["고양이", "1"], ["cat", "2"]], left={0}) == ["고양이  1", "cat     2"]


def test_lines_have_no_trailing_blanks() -> None:
    assert aligned([["long", ""], ["a", ""]], left={0, 1}) == ["long", "a"]
