"""What the candidates were trained on, beside what became of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from pytest_wanlora import results, suite, testing
from pytest_wanlora.errors import DataError
from pytest_wanlora.results.training_data import ScenarioShare
from pytest_wanlora.run.training_data import TrainingData, card, read
from pytest_wanlora.suite import Suite
from pytest_wanlora.verdict.judgement import Judgement, Verdict

ROOT = Path(__file__).parents[3]
EPOCH_0 = ROOT / "examples" / "epoch-0-metadata.csv"
REAL_RUN = ROOT / "tests" / "data" / "record-version-1.json"


@pytest.fixture
def tiny() -> Suite:
    return suite.load("tiny")


def made(tmp_path: Path, *prompts: str | None, columns: str = "prompt") -> Path:
    path = tmp_path / "metadata.jsonl"
    path.write_text("".join(json.dumps({columns: prompt}) + "\n" for prompt in prompts), encoding="utf-8")
    return path


def test_the_data_of_epoch_0_is_as_it_was_drawn(tiny: Suite) -> None:
    found = read(EPOCH_0, tiny)
    assert found.shares == pytest.approx(
        {"urban": 0.8, "nature": 0.02, "action": 0.13, "other": 0.05}, abs=0.01
    )
    assert (found.rows, found.prompts, found.undecided) == (1000, 1000, 0)
    assert found.languages == {"en": 1000}
    assert found.sha256 == hashlib.sha256(EPOCH_0.read_bytes()).hexdigest()


def test_a_real_gate_of_epoch_0_names_the_rarity_of_nature(tiny: Suite) -> None:
    record = results.load(REAL_RUN)
    found = card(read(EPOCH_0, tiny), tiny.scenarios, ["epoch-0"], record.judgements)
    (suspicion,) = found.suspicions
    assert (suspicion.key, suspicion.candidate, suspicion.scenario) == ("rare", "epoch-0", "test2_nature")
    assert (suspicion.category, suspicion.metric, suspicion.commonest) == ("nature", "clip", "urban")
    assert suspicion.share == pytest.approx(0.02, abs=0.01)
    assert suspicion.change == pytest.approx(0.204, abs=0.001)
    assert found.scenarios["test2_nature"].rare
    assert not found.scenarios["test1_korean_city"].rare
    # three scenarios carry no rank correlation
    assert found.correlations == ()
    assert found.file == "epoch-0-metadata.csv"


def test_three_languages_and_rows_without_a_prompt_are_counted(tmp_path: Path, tiny: Suite) -> None:
    path = made(
        tmp_path,
        "서울의 밤거리와 네온사인",
        "樱花树下的小溪",
        None,
        "a runner sprinting on a track",
        "zzz qqq",
    )
    found = read(path, tiny)
    assert (found.rows, found.prompts, found.undecided) == (5, 4, 1)
    assert found.languages == {"en": 2, "ko": 1, "zh": 1}
    assert found.counts == {"action": 1, "urban": 1, "nature": 1, "other": 1}


def test_a_folder_of_captions_is_read_and_a_config_with_its_repeats(tmp_path: Path, tiny: Suite) -> None:
    for name, prompt in (("a", "a neon street in Seoul"), ("b", "a waterfall")):
        (tmp_path / f"{name}.mp4").touch()
        (tmp_path / f"{name}.txt").write_text(prompt)
    found = read(tmp_path, tiny)
    assert (found.rows, found.counts["urban"], found.counts["nature"]) == (2, 1, 1)
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "m.jsonl").write_text('{"video_path": "x", "caption": "a waterfall"}')
    config = tmp_path / "data.toml"
    config.write_text('[[datasets]]\nvideo_jsonl_file = "more/m.jsonl"\nnum_repeats = 3\n')
    found = read(config, tiny)
    assert (found.rows, found.prompts, found.counts["nature"], found.languages) == (1, 3, 3, {"en": 3})
    assert len(found.sha256) == 64


def test_the_videos_column_is_not_needed(tmp_path: Path, tiny: Suite) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text("prompt,image\na neon street in Seoul,x.png\n", encoding="utf-8")
    assert read(path, tiny).counts["urban"] == 1


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("metadata.csv", "video,words\na,b\n", "no column 'prompt' or 'caption' or 'text'; there is 'video'"),
        ("metadata.csv", "video,prompt\n", "there is no row in it"),
        ("metadata.csv", 'video,prompt\na,""\n', "none of its 1 row has a prompt"),
        ("metadata.csv", 'video,prompt\na,"b\n', "a quote that is never closed?"),
        ("metadata.jsonl", "{}\n", "has no 'prompt'"),
        ("metadata.txt", "a\n", "training data is a folder or ends in"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_names_the_option_and_the_file(
    tmp_path: Path, tiny: Suite, name: str, text: str, words: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read(path, tiny)
    option = f"--wanlora-training-data (ini: wanlora_training_data): {path}"
    assert caught.value.message.startswith(option)
    assert words in caught.value.message
    assert caught.value.next_command == f"python -m pytest_wanlora data report {path}"


def judged(scenario: str, verdict: Verdict, candidate: str = "x", change: float = 0.5) -> Judgement:
    return Judgement(
        "regression", candidate, scenario, "sharpness", verdict, "a reason", change=change, fail=0.15
    )


@pytest.fixture
def fake(tmp_path: Path) -> Suite:
    """Scenarios of nature and of a category that no list has a word for."""
    return suite.load(str(testing.write_suite(tmp_path)))


def test_a_category_without_words_has_no_share_and_no_suspicion(tmp_path: Path, fake: Suite) -> None:
    data = read(made(tmp_path, *["a street with traffic"] * 19, "a cherry tree"), fake)
    found = card(data, fake.scenarios, ["x"], [judged("test1_city", Verdict.FAIL)])
    assert found.scenarios == {
        "test1_city": ScenarioShare(category="city", prompts=None, share=None, rare=False),
        "test2_nature": ScenarioShare(category="nature", prompts=1, share=0.05, rare=True),
    }
    assert found.counts == {"nature": 1, "other": 19}
    assert found.suspicions == ()


def test_undecided_prompts_may_be_of_any_category(tmp_path: Path, fake: Suite) -> None:
    judgements = [judged("test2_nature", Verdict.FAIL)]
    known = read(made(tmp_path, *["a street with traffic"] * 19, "a cherry tree"), fake)
    assert [each.scenario for each in card(known, fake.scenarios, ["x"], judgements).suspicions] == [
        "test2_nature"
    ]
    unknown = read(made(tmp_path, *["eine bunte Wiese"] * 19, "a cherry tree"), fake)
    assert unknown.undecided == 19
    found = card(unknown, fake.scenarios, ["x"], judgements)
    assert (found.suspicions, found.scenarios["test2_nature"].rare) == ((), False)


def test_each_candidate_has_its_own_suspicions(tmp_path: Path, fake: Suite) -> None:
    data = read(made(tmp_path, *["a street with traffic"] * 19, "a cherry tree"), fake)
    judgements = [judged("test2_nature", Verdict.FAIL, "a"), judged("test2_nature", Verdict.PASS, "b")]
    assert [each.candidate for each in card(data, fake.scenarios, ["a", "b"], judgements).suspicions] == ["a"]


def test_what_speaks_against_a_suspicion_has_another_key() -> None:
    tiny = suite.load("tiny")
    data = TrainingData(
        path=Path("m.csv"),
        sha256="0" * 64,
        rows=100,
        counts={"action": 2, "urban": 95, "nature": 2, "other": 1},
        languages={"en": 100},
        undecided=0,
        ties=0,
    )
    judgements = [judged("test2_nature", Verdict.FAIL), judged("test3_action", Verdict.PASS, change=0.0)]
    (found,) = card(data, tiny.scenarios, ["x"], judgements).suspicions
    assert (found.key, found.against) == ("rare_but", ("test3_action",))


@pytest.mark.parametrize(("order", "key"), [(1, "the_rarer_the_worse"), (5, "chance")])
def test_enough_scenarios_have_a_rank_correlation(order: int, key: str) -> None:
    tiny = suite.load("tiny")
    template = tiny.scenarios[0]
    scenarios = [
        template.model_copy(update={"id": f"s{number}", "category": f"c{number // 2}"})
        for number in range(12)
    ]
    counts = {f"c{number}": 30 - 5 * number for number in range(6)}
    data = TrainingData(Path("m.csv"), "0" * 64, 105, counts, {"en": 105}, 0, 0)
    judgements = [
        judged(f"s{number}", Verdict.WARN, change=0.01 * (number * order % 12)) for number in range(12)
    ]
    (found,) = card(data, scenarios, ["x"], judgements).correlations
    assert (found.key, found.scenarios, found.categories) == (key, 12, 6)
    assert (found.rho < -0.9) is (key != "chance")
