"""A pair of LoRAs in every view: its files, their strengths and digests, what is unusual about it."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from pytest_wanlora.checkpoint import asked
from pytest_wanlora.phrases import LANGUAGES
from pytest_wanlora.reports import (
    compare,
    export,
    figure,
    html,
    html_race,
    markdown,
    model_card,
    race,
    terminal,
)
from pytest_wanlora.results.parts import Beneath, CandidateCard, Paths
from pytest_wanlora.results.race import Entrant
from pytest_wanlora.results.run_record import RunRecord
from tests import loras
from tests.unit.reports import gated
from tests.unit.reports.records import race_card

HIGH, LOW = "cities_high_noise.safetensors", "cities_low_noise.safetensors"


def card(folder: Path, argument: str, **fields: Any) -> CandidateCard:  # noqa: ANN401 - any field
    """The card of a LoRA as the gate writes it; its files are written where they are missing."""
    for seed, name in enumerate((HIGH, LOW)):
        if not (folder / name).exists():
            loras.write(folder / name, loras.random_lora(seed=seed))
    (given,) = asked([argument], by_name=True)
    pair = given.read("epoch-2")
    return gated.card(sha256=pair.sha256, checkpoint=pair.describe(), **fields)


def record(folder: Path, argument: str, **fields: Any) -> RunRecord:  # noqa: ANN401 - any field
    found = gated.record(candidates=(card(folder, argument, **fields),))
    paths = Paths(run="runs/1", suite="tiny-pair", checkpoints={"epoch-2": argument})
    return found.model_copy(update={"paths": paths})


def views(of: RunRecord) -> dict[str, str]:
    """What each view says, without marks of its format."""
    found = {
        "terminal": "\n".join(terminal.summary(of, "results.json", width=200)),
        "terminal -v": "\n".join(terminal.summary(of, "results.json", full=True, width=200)),
        "html": html.page(of, Path()),
        "model card": model_card.fragment(of, "epoch-2"),
        "compare": "\n".join(compare.lines(of)),
        **{f"report.{language}.md": markdown.page(of, language) for language in LANGUAGES},
    }
    plain = {name: re.sub(r"<[^>]*>|\\\\|&#8203;", "", text) for name, text in found.items()}
    return {name: text.replace("\u2068", "").replace("\u2069", "") for name, text in plain.items()}


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return f"high={HIGH}@0.05,low={LOW}@0.5"


@pytest.mark.parametrize(
    ("scale", "said"),
    [(1.0, "high 0.05, low 0.5"), (0.8, "high 0.04 (0.05 x 0.8), low 0.4 (0.5 x 0.8)")],
)
def test_every_view_tells_the_strength_of_each_half(
    pair: str, tmp_path: Path, scale: float, said: str
) -> None:
    of = record(tmp_path, pair, scale=scale)
    for name, text in views(of).items():
        assert said in text, name
        assert not re.search(r"(?:scale|strength|[Ss]trength) 1\b(?!\.)", text), name
    assert said[:12] in figure._title(of)


def test_a_pair_at_the_strength_that_is_meant_without_a_word_is_said_as_a_file(
    pair: str, tmp_path: Path
) -> None:
    of = record(tmp_path, f"high={HIGH},low={LOW}")
    said = views(of)["terminal"]
    assert "scale 1\n" in said
    assert "at strength" not in said


def test_each_half_has_its_file_and_its_digest(pair: str, tmp_path: Path) -> None:
    shown = views(record(tmp_path, pair))
    for name in (HIGH, LOW):
        digest = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        for view in ("terminal -v", "html", "model card", "report.en.md", "report.ko.md"):
            assert [name in shown[view], digest in shown[view]] == [True, True], view


def test_the_model_card_says_what_to_load_and_what_the_digest_is_of(pair: str, tmp_path: Path) -> None:
    of = record(tmp_path, pair, scale=0.8)
    text = model_card.fragment(of, "epoch-2")
    assert f"`{HIGH}` into the high-noise expert at strength 0.04" in text
    assert f"`{LOW}` into the low-noise expert at strength 0.4" in text
    (digest, written) = re.search(r"digest `(\w+)` .* JSON `(.*)`\.", text).groups()  # type: ignore[union-attr]
    assert digest == of.candidates[0].sha256 == hashlib.sha256(written.encode()).hexdigest()
    assert set(json.loads(written)) == {"high", "low"}
    assert f"verify receipt.json {pair} --scale 0.8" in text
    assert "FILE.safetensors" not in text


def test_halves_of_one_name_are_told_apart_in_the_command(tmp_path: Path) -> None:
    folders = [tmp_path / f"{expert}_noise_lora" for expert in ("high", "low")]
    for seed, folder in enumerate(folders):
        folder.mkdir()
        loras.write(folder / "epoch-4.safetensors", loras.random_lora(seed=seed))
    argument = ",".join(f"{folder.name[:-11]}={folder}/epoch-4.safetensors" for folder in folders)
    text = model_card.fragment(record(tmp_path, argument), "epoch-2")
    assert "Publish its files in two folders, as they are named here." in text
    assert "- `low_noise/epoch-4.safetensors` into the low-noise expert" in text
    words = shlex.split(next(line for line in text.splitlines() if " verify " in line))
    assert words[-1] == "high=high_noise/epoch-4.safetensors,low=low_noise/epoch-4.safetensors"
    assert "adapter_config.json" not in text


def test_a_pair_whose_alpha_is_in_other_files_is_published_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the gate are published as the card says, and its halves have ranks of their own."""
    monkeypatch.chdir(tmp_path)
    for expert, rank in (("high", 8), ("low", 4)):
        folder = tmp_path / f"run/{expert}_noise"
        folder.mkdir(parents=True)
        state = {f"base_model.model.{key}": value for key, value in loras.random_lora(rank=rank).items()}
        loras.write(folder / "adapter_model.safetensors", state)
        config = {"peft_type": "LORA", "r": rank, "lora_alpha": 2}
        (folder / "adapter_config.json").write_text(json.dumps(config))
    argument = ",".join(f"{each}=run/{each}_noise/adapter_model.safetensors" for each in ("high", "low"))
    of = record(tmp_path, argument)
    text = model_card.fragment(of, "epoch-2")
    assert "Publish each `adapter_config.json` too, in the folder of its LoRA" in text
    words = shlex.split(next(line for line in text.splitlines() if " verify receipt.json " in line))
    monkeypatch.chdir(tmp_path / "run")
    (published,) = asked([words[-1]], by_name=True)
    assert published.read("x").identity == of.candidates[0].checkpoint["identity"]  # type: ignore[index]
    said = views(of)
    for view in ("terminal", "report.en.md", "report.ko.md"):
        assert "rank 4, 8, " in said[view], view
    assert "4, 8, alpha 2" in said["html"]


def test_a_file_whose_alpha_is_in_another_is_published_with_it() -> None:
    own = gated.card()
    of = gated.record(candidates=(own,))
    assert "adapter_config.json" not in model_card.fragment(of, own.name)
    known = (own.checkpoint or {}) | {"alpha_source": "adapter_config.json"}
    of = gated.record(candidates=(own.model_copy(update={"checkpoint": known}),))
    assert "Publish its `adapter_config.json` too" in model_card.fragment(of, own.name)


def test_a_file_for_both_experts_has_its_own_digest(pair: str, tmp_path: Path) -> None:
    card(tmp_path, pair)
    text = model_card.fragment(record(tmp_path, f"high={HIGH},low={HIGH}"), "epoch-2")
    assert f"verify receipt.json high={HIGH},low={HIGH}" in text


@pytest.mark.parametrize(
    ("argument", "english", "korean"),
    [
        (
            f"low={LOW}",
            "only the low-noise expert has a LoRA; the high-noise one is the base model",
            "low-noise 전문가에만",
        ),
        (f"high={HIGH},low={HIGH}@0.8", "both experts have the same LoRA", "두 전문가에 같은 LoRA"),
    ],
)
def test_every_view_has_the_hints(
    pair: str, tmp_path: Path, argument: str, english: str, korean: str
) -> None:
    card(tmp_path, pair)
    shown = views(record(tmp_path, argument))
    del shown["compare"]
    for name, text in shown.items():
        assert (korean if name == "report.ko.md" else english) in text, name
    assert korean in shown["html"]


def test_every_view_has_the_words_of_a_warning(pair: str, tmp_path: Path) -> None:
    card(tmp_path, pair)
    shown = views(record(tmp_path, f"high={LOW},low={HIGH}@0.8"))
    for name in ("html", "report.en.md", "report.ko.md", "model card"):
        for file, given in ((LOW, "high"), (HIGH, "low")):
            words = f"{file} is given as the {given}-noise LoRA"
            assert words in shown[name], name
    for name in ("html", "report.en.md"):
        assert f"pytest --lora high={HIGH}@0.8,low={LOW}" in shown[name], name
        assert "survives rounding when it is fused" not in shown[name], name


def test_a_race_has_the_strengths_of_the_halves() -> None:
    first, *others = race_card().entrants
    own = Entrant(**{**first.model_dump(), "strengths": {"high": 0.5, "low": 1.0}})
    found = race_card(entrants=(own, *others))
    (row,) = (each for each in race.rows(found, "en", str, str) if each[0] == own.name)
    assert row[1] == "high 0.4 (0.5 x 0.8), low 0.8 (1 x 0.8)"
    lines = "\n".join(terminal._race(found, 200))
    assert row[1] in lines
    assert "strength" not in "\n".join(terminal._race(race_card(), 200))
    alone = race_card(entrants=tuple(each.model_copy(update={"scale": 1.0}) for each in found.entrants))
    assert ">1</text>" not in html_race._curve(alone, "en")


def test_runs_of_one_pair_are_told_apart_by_strength(pair: str, tmp_path: Path) -> None:
    runs = [record(tmp_path, pair), record(tmp_path, f"high={HIGH},low={LOW}")]
    both = compare.combine(
        [run.model_copy(update={"run_id": f"run-{number}"}) for number, run in enumerate(runs)]
    )
    rows = [line.split("  ") for line in compare.lines(both) if line.startswith("strength")]
    assert [[each.strip() for each in row if each.strip()] for row in rows] == [
        ["strength", "high 0.05, low 0.5", "1"]
    ]
    assert [each["strengths"] for each in compare.document(both)["checkpoints"]] == [
        {"high": 0.05, "low": 0.5},
        {"high": 1.0, "low": 1.0},
    ]


@pytest.mark.parametrize(
    ("name", "scale", "training", "step"),
    [
        ("epoch-6@0.8", 0.8, "epoch@0.8", 6),
        ("seoul-6", 1.0, "seoul@high0.05,low0.5", 6),
        ("seoul-6@high0.05,low0.5", 1.0, "seoul@high0.05,low0.5", 6),
        ("seoul-6@high0.05,low0.5@0.8", 0.8, "seoul@high0.04(0.05x0.8),low0.4(0.5x0.8)", 6),
    ],
)
def test_trackers_have_a_training_for_each_strength(
    pair: str, tmp_path: Path, name: str, scale: float, training: str, step: int
) -> None:
    own = gated.card(scale=scale) if name.startswith("epoch") else card(tmp_path, pair, scale=scale)
    of = gated.record(
        candidates=(own.model_copy(update={"name": name}),),
        judgements=gated.judgements(name),
        videos=gated.videos(name),
    )
    (point,) = export.points(of, tmp_path)
    assert (point.training, point.step) == (training, step)


def test_the_suites_stack_is_in_every_view(pair: str, tmp_path: Path) -> None:
    of = record(tmp_path, pair)
    stack = (
        Beneath(file="accelerator.safetensors", expert="high", scale=0.8, sha256="a" * 64),
        Beneath(file="style.safetensors", scale=1.0, sha256="b" * 64),
    )
    shown = views(of.model_copy(update={"suite": of.suite.model_copy(update={"stack": stack})}))
    del shown["compare"]
    for name, text in shown.items():
        for each in stack:
            assert each.file in text, name
        assert "0.8" in text, name
    assert all(each.sha256 in shown["model card"] for each in stack)
    assert "`accelerator.safetensors` in the high-noise expert at strength 0.8" in shown["model card"]
    assert "On the model, below" not in views(of)["model card"]
