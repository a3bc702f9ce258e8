"""What is taken from training metadata."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_wanlora.errors import DataError
from pytest_wanlora.new_project import metadata


def written(folder: Path, prompts: list[str | None]) -> Path:
    path = folder / "metadata.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts), encoding="utf-8")
    return path


def test_shares_are_counted_by_the_packaged_categories(tmp_path: Path) -> None:
    prompts = [*["a street with neon signs"] * 3, "a forest with a waterfall", None]
    found = metadata.read(written(tmp_path, prompts))
    assert found.prompts == 4
    assert found.shares == {"action": 0.0, "urban": 0.75, "nature": 0.25, "other": 0.0}
    assert found.summary() == (
        "training data metadata.jsonl, 4 prompts: urban 75.0%, nature 25.0%, action 0.0%, other 0.0%"
    )


def test_categories_without_words_are_left_out(tmp_path: Path) -> None:
    found = metadata.read(written(tmp_path, ["a street with neon signs"] * 2), ["urban", "space"])
    assert found.shares == {"urban": 1.0, "other": 0.0}


@pytest.mark.parametrize(
    ("prompts", "opening"),
    [
        ([f"ohwx style, a {thing}" for thing in ("cat", "dog", "tree", "car")], "ohwx style"),
        ([f"A photo of sks {thing}" for thing in ("cat", "dog", "tree", "car")], "A photo of sks"),
        ([*[f"Ohwx {n} cats" for n in range(19)], "no trigger"], "Ohwx"),
        ([*[f"Ohwx {n} cats" for n in range(8)], "no", "trigger"], None),
        (["a cat", "a dog", "a tree"], None),
        (["ohwx style, a cat"], None),
        (["ohwx. A cat", "ohwx A dog"], "ohwx"),
    ],
)
def test_how_most_prompts_begin(tmp_path: Path, prompts: list[str | None], opening: str | None) -> None:
    assert metadata.read(written(tmp_path, prompts)).opening == opening


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"--training-data: .*none of its 1 row has a prompt"):
        metadata.read(written(tmp_path, [None]))
    with pytest.raises(DataError, match=r"--training-data: .*cannot be read"):
        metadata.read(tmp_path / "nowhere.csv")
