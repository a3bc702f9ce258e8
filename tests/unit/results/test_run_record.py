from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora.baseline.contents import Prompt
from pytest_wanlora.errors import RecordError
from pytest_wanlora.results.parts import (
    BaselineCard,
    CandidateCard,
    Failure,
    Pair,
    Part,
    SetScores,
    SuiteCard,
    Totals,
    Video,
)
from pytest_wanlora.results.run_record import RunRecord, load, merge, runs_so_far, write
from pytest_wanlora.verdict.judgement import ItemId, ItemOutcome, Judgement, PytestOutcome, Verdict, Worst
from tests.unit.reports.gated import EVIDENCE
from tests.unit.reports.sample_records import training_data
from tools import write_schema

SHA = "ab" * 32
NAME = "epoch-2"
FILE = ItemId("checkpoint", NAME, "", "")
CLIP = ItemId("limit", NAME, "s1", "clip")
SHARPNESS = ItemId("regression", NAME, "s1", "sharpness")
EXPECTED = (FILE, CLIP, SHARPNESS)


def judged(item: ItemId, verdict: Verdict = Verdict.PASS, **more: Any) -> Judgement:  # noqa: ANN401  fields
    return Judgement(item.kind, item.candidate, item.scenario, item.metric, verdict, "well", **more)


def video(seed: int, role: str = "candidate", **more: Any) -> Video:  # noqa: ANN401  fields
    known: dict[str, Any] = {
        "role": role,
        "candidate": NAME if role == "candidate" else "base",
        "scenario": "s1",
        "seed": seed,
        "scores": {"clip": 0.6, "sharpness": 400.0 + 50 * seed + (100.0 if role == "baseline" else 0.0)},
        "preview": f"previews/s1-{seed}.mp4",
        "seconds": 1.5,
        **more,
    }
    return Video(**known)


JUDGEMENTS = (
    judged(FILE),
    judged(CLIP, value=0.6, minimum=0.3, n=2),
    judged(
        SHARPNESS,
        Verdict.WARN,
        value=425.0,
        baseline=525.0,
        change=0.19,
        evidence=dataclasses.replace(EVIDENCE, high=None, weak=True),
        worst=Worst("s1", 0, 400.0, 500.0),
    ),
)


def own(outcome: str, candidate: str | None = NAME) -> dict[str, Any]:
    return {"name": "test_own.py::test_a", "candidate": candidate, "outcome": outcome, "detail": ""}


def record(**changed: Any) -> RunRecord:  # noqa: ANN401  fields
    known: dict[str, Any] = {
        "run_id": "20260102-030405-1-epoch-2",
        "started": "2026-01-02T03:04:05Z",
        "finished": "2026-01-02T03:05:05Z",
        "command": ("pytest", "--lora", "epoch-2.safetensors"),
        "exit_status": 0,
        "partial": False,
        "environment": {"device": "cpu"},
        "versions": {"torch": "2.14.1"},
        "suite": SuiteCard(
            name="tiny",
            sha256="cd" * 32,
            fingerprint={"sampling": {"steps": 20}},
            prompts={"s1": Prompt(category="nature", prompt="벚꽃 <b>", caption="cherry trees")},
            tolerances={"sharpness": {"warn": 0.02, "fail": 0.15, "better": 0.2}},
            looks=(4, 8, 16),
        ),
        "candidates": (
            CandidateCard(
                name=NAME,
                sha256=SHA,
                checkpoint={"rank": 16},
                norms={0: 0.1, 10: 0.2},
                publishable=True,
                reason="all 3 items pass",
            ),
        ),
        "baseline": BaselineCard(name="base", digest="ef" * 32, created="2026-01-01T00:00:00Z"),
        "expected": EXPECTED,
        "project_tests": (ItemOutcome("test_own.py::test_kept", NAME, PytestOutcome.PASSED),),
        "videos": tuple(video(seed, role) for role in ("candidate", "baseline") for seed in (0, 1)),
        "sets": (
            SetScores(
                role="candidate", candidate=NAME, scenario="all", scores={"fvd": 90.0}, n=2, reference_n=512
            ),
        ),
        "judgements": JUDGEMENTS,
        "totals": Totals.of([video(0), video(1, reused=True)], [], 60.0),
        "training_data": training_data(),
        **changed,
    }
    return RunRecord(**known)


def test_how_likely_other_seeds_would_end_otherwise_is_said_of_what_was_measured_whole() -> None:
    sure = dataclasses.replace(EVIDENCE, n=2, low=0.18, high=0.20, change=0.19)
    own = [judged(FILE), judged(SHARPNESS, fail=0.15, n=2, evidence=sure)]
    blocks = record().suite.model_copy(update={"weak": "fail"})
    whole = record(judgements=own, expected=(FILE, SHARPNESS), suite=blocks)
    (card,) = whole.ended(0).candidates
    assert card.other_seeds is not None
    assert whole.candidates[0].other_seeds is None
    assert RunRecord.from_json(whole.ended(0).to_json()).candidates[0].other_seeds == card.other_seeds
    for changed in ({"partial": True}, {"expected": EXPECTED}, {"suite": record().suite}):
        (other,) = whole.model_copy(update=changed).ended(0).candidates
        assert other.other_seeds is None


def test_a_record_comes_back_as_it_was() -> None:
    text = record().to_json()
    assert RunRecord.from_json(text) == record()
    assert RunRecord.from_json(text).to_json() == text
    assert "벚꽃 <b>" in text


def test_the_published_schema_is_current() -> None:
    stored = (resources.files("pytest_wanlora.results") / "results.schema.json").read_text(encoding="utf-8")
    assert stored == write_schema.of_record(), "run: python -m tools.write_schema"


def test_the_schema_knows_every_key_of_a_record() -> None:
    schema = json.loads(write_schema.of_record())
    assert set(json.loads(record().to_json())) == set(schema["properties"])
    closed = [name for name, part in schema["$defs"].items() if part.get("type") == "object"]
    assert len(closed) >= 10
    assert all(schema["$defs"][name]["additionalProperties"] is False for name in closed)


def test_a_record_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "runs/one/results.json"
    write(record(), path)
    assert load(path) == load(path.parent) == record()
    assert [each.name for each in path.parent.iterdir()] == ["results.json"]


def test_a_record_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(RecordError, match=r"results\.json: cannot be written"):
        write(record(), tmp_path / "runs/one/results.json")


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda raw: raw.update(schema_version=7), "schema_version is 7; allowed: 1 to 6"),
        (lambda raw: raw.pop("schema_version"), "schema_version is None"),
        (lambda raw: raw.pop("suite"), "suite: Field required"),
        (lambda raw: raw.update(surprise=1), "surprise: Extra inputs"),
        (lambda raw: raw["judgements"][0].update(surprise=1), r"judgements\.0"),
        (lambda raw: raw["judgements"][2].update(verdict="great"), r"judgements\.2\.verdict"),
        (lambda raw: raw["judgements"].append(raw["judgements"][0]), "an item is judged twice"),
        (lambda raw: raw["judgements"].pop(), "epoch-2 is not publishable by its own judgements"),
        (lambda raw: raw["judgements"][2].update(verdict="fail"), "not publishable by its own judgements"),
        (lambda raw: raw.update(partial=True), "not publishable by its own judgements"),
        (lambda raw: raw.update(expected=[]), "not publishable by its own judgements"),
        (lambda raw: raw["candidates"][0].update(sha256=None), "no file that could be published"),
        (lambda raw: raw["videos"][0]["scores"].update(clip="NaN"), r"videos\.0\.scores\.clip"),
        (
            lambda raw: raw.update(exit_status=1),
            "not publishable by its own judgements: the pytest run ended",
        ),
        (
            lambda raw: raw.update(exit_status=2),
            "not publishable by its own judgements: the pytest run ended",
        ),
        (lambda raw: raw.update(other_failures=["t.py::a"]), "1 other test failed, t.py::a"),
        (lambda raw: raw["project_tests"].append(own("failed")), "1 of 2 project tests did not pass"),
        (lambda raw: raw["project_tests"].append(own("skipped")), "1 of 2 project tests did not pass"),
        (lambda raw: raw["project_tests"].append(own("deselected", None)), "1 of 2 project tests did not"),
        (lambda raw: raw["project_tests"][0].update(outcome="great"), r"project_tests\.0\.outcome"),
        (lambda raw: raw["project_tests"][0].update(surprise=1), r"project_tests\.0"),
    ],
)
def test_a_record_that_does_not_agree_with_itself_is_refused(
    change: Callable[[dict[str, Any]], object], words: str
) -> None:
    raw = json.loads(record().to_json())
    change(raw)
    with pytest.raises(RecordError, match=words):
        RunRecord.from_json(json.dumps(raw), source="results.json")


@pytest.mark.parametrize("text", ["", "{", "[]", "1", b"\xff", "[" * 100_000])
def test_what_is_no_record_is_refused(text: str | bytes) -> None:
    with pytest.raises(RecordError):
        RunRecord.from_json(text)


def test_a_newer_record_asks_for_a_newer_package() -> None:
    with pytest.raises(RecordError) as refused:
        RunRecord.from_json('{"schema_version": 9}')
    assert refused.value.next_command == "pip install --upgrade pytest-wanlora"


def test_numbers_that_are_not_finite_are_not_recorded() -> None:
    with pytest.raises(ValueError, match="finite"):
        video(0, scores={"clip": float("nan")})


def test_pairs_tell_the_change_of_each_seed() -> None:
    degenerate = video(2, scores={}, degenerate="it is black")
    found = record(videos=(*record().videos, degenerate, video(2, "baseline")))
    assert found.pairs(NAME, "s1", "sharpness") == (
        Pair(0, 500.0, 400.0, 0.2),
        Pair(1, 550.0, 450.0, 100 / 550),
    )
    assert found.pairs(NAME, "elsewhere", "sharpness") == ()
    assert found.pairs("epoch-0", "s1", "sharpness") == ()


def test_judgements_are_found_by_their_place() -> None:
    assert record().judged(NAME, "s1", "sharpness") == (JUDGEMENTS[2],)
    assert record().decision(NAME).publishable
    assert not record().decision("epoch-0").publishable


def test_another_checkpoint_alone_explains_an_exit_code_of_1() -> None:
    other = ItemId("checkpoint", "epoch-0", "", "")
    card = record().candidates[0]
    cards = (
        card,
        card.model_copy(update={"name": "epoch-0", "publishable": False, "reason": "1 of 1 items fail"}),
    )
    known = {"candidates": cards, "expected": (*EXPECTED, other), "exit_status": 1}
    whole = record(**known, judgements=(*JUDGEMENTS, judged(other, Verdict.FAIL)))
    assert RunRecord.from_json(whole.to_json()) == whole
    tested = (*record().project_tests, ItemOutcome("t.py::a", "epoch-0", PytestOutcome.FAILED))
    assert record(**known, judgements=(*JUDGEMENTS, judged(other)), project_tests=tested)
    with pytest.raises(ValueError, match="for a reason outside the gate"):
        record(**known, judgements=(*JUDGEMENTS, judged(other)))


def test_ending_otherwise_takes_every_decision_anew() -> None:
    ended = record().ended(6)
    assert (ended.exit_status, ended.candidates[0].publishable) == (6, False)
    assert (
        ended.candidates[0].reason == "the pytest run ended with exit code 6: for a reason outside the gate"
    )
    again = ended.ended(0)
    assert again.candidates[0].publishable
    assert again.candidates[0].reason == "no item fails: 2 items and 1 project test pass, 1 warns"


def test_totals_count_the_candidates_videos() -> None:
    videos = [video(0), video(1, reused=True), video(0, "baseline")]
    failure = Failure(candidate=NAME, scenario="s1", seed=3, message="no memory")
    totals = Totals.of(videos, [failure], 12.0)
    assert (totals.rendered, totals.reused, totals.failed) == (1, 1, 1)
    assert (totals.seconds, totals.rendering_seconds) == (12.0, 1.5)


PARTS = [
    Part(videos=(video(0), video(1, reused=True, seconds=0.0)), judgements=(JUDGEMENTS[0],)),
    Part(videos=(video(0, reused=True, seconds=0.0), video(1)), judgements=(JUDGEMENTS[1],)),
    Part(videos=(video(0, "baseline"),), sets=record().sets, judgements=(JUDGEMENTS[2], JUDGEMENTS[0])),
    Part(failures=(Failure(candidate=NAME, scenario="s1", seed=3, message="no memory"),)),
]


@given(st.permutations(PARTS), st.integers(1, 4))
def test_parts_merge_the_same_in_any_order_and_grouping(parts: list[Part], size: int) -> None:
    whole = merge(PARTS)
    assert merge(parts) == whole
    groups = [merge(parts[i : i + size]) for i in range(0, len(parts), size)]
    assert merge(groups) == whole


def test_a_video_that_anyone_rendered_counts_as_rendered() -> None:
    found = merge(PARTS).videos
    assert [(each.role, each.seed, each.reused, each.seconds) for each in found] == [
        ("baseline", 0, False, 1.5),
        ("candidate", 0, False, 1.5),
        ("candidate", 1, False, 1.5),
    ]


@given(st.sets(st.sampled_from(range(len(EXPECTED)))))
def test_nothing_is_said_about_items_that_nobody_judged(present: set[int]) -> None:
    found = merge([Part(judgements=tuple(JUDGEMENTS[i] for i in present))])
    assert {judgement.item for judgement in found.judgements} == {EXPECTED[i] for i in present}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Part(videos=(video(0, scores={"clip": 0.5}),)), "the video candidate, epoch-2, s1, 0"),
        (Part(judgements=(judged(FILE, Verdict.FAIL),)), "checkpoint"),
        (Part(sets=(record().sets[0].model_copy(update={"n": 3}),)), "all"),
    ],
)
def test_workers_that_contradict_each_other_are_found_out(other: Part, words: str) -> None:
    with pytest.raises(RecordError, match=f"two workers contradict each other about .*{words}"):
        merge([*PARTS, other])


def test_earlier_runs_of_the_same_bytes_are_counted(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(record(), tmp_path / name / "results.json")
    other = record().candidates[0].model_copy(update={"sha256": "00" * 32})
    write(record(candidates=(other,)), tmp_path / "three/results.json")
    raw = json.loads(record().to_json())
    raw["suite"]["name"] = "wan"
    for name, text in {"four": json.dumps(raw), "cut": record().to_json()[:-40], "empty": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(text)
    # one and two have the same seeds: the second is no further try. The one that was cut still shows the
    # digest: an accident must not hide a run
    assert runs_so_far(tmp_path, SHA, "tiny") == 2
    assert runs_so_far(tmp_path / "nowhere", SHA, "tiny") == 0


@pytest.mark.parametrize(
    ("earlier", "seeds", "tries"),
    [
        ((), {0, 1}, 1),
        (((0, 1), (0, 1), (0, 1)), {0, 1}, 1),
        (((0, 1),), {0}, 1),
        (((0, 1), (5, 6)), {0, 1}, 2),
        (((0, 1), (5, 6)), {9}, 3),
        (((0, 1), (0, 1, 2, 3), (0, 1)), {0, 1}, 2),
        # nothing was rendered: no try, by itself or beside others
        (((), ()), set(), 0),
        (((), (0, 1), ()), {5}, 2),
    ],
)
def test_what_counts_as_a_try_is_new_noise(
    tmp_path: Path, earlier: tuple[tuple[int, ...], ...], seeds: set[int], tries: int
) -> None:
    for number, of in enumerate(earlier):
        raw = json.loads(record().to_json())
        raw["videos"] = [{**raw["videos"][0], "role": "candidate", "candidate": NAME, "seed": s} for s in of]
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        (folder / "results.json").write_text(json.dumps(raw))
        os.utime(folder / "results.json", (number, number))
    (tmp_path / "stopped").mkdir()
    stopped = {**json.loads(record().to_json()), "exit_status": 2, "videos": []}
    (tmp_path / "stopped/results.json").write_text(json.dumps(stopped))
    assert runs_so_far(tmp_path, SHA, "tiny", seeds) == tries


def leaves(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [leaf for key, inner in value.items() for leaf in leaves(inner, (*path, key))]
    if isinstance(value, list):
        return [leaf for i, inner in enumerate(value) for leaf in leaves(inner, (*path, i))]
    return [path]


@given(st.data())
@settings(max_examples=200)
def test_no_single_edit_makes_a_failing_record_pass(data: st.DataObject) -> None:
    failing = (*JUDGEMENTS[:2], judged(SHARPNESS, Verdict.FAIL))
    card = record().candidates[0].model_copy(update={"publishable": False, "reason": "1 of 3 items fail"})
    raw = json.loads(record(judgements=failing, candidates=(card,)).to_json())
    path = data.draw(st.sampled_from(leaves(raw)))
    edited = copy.deepcopy(raw)
    place = edited
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = data.draw(st.sampled_from([True, False, None, 0, 1, "pass", "better", 0.5]))
    try:
        found = RunRecord.from_json(json.dumps(edited))
    except RecordError:
        return
    assert not any(each.publishable for each in found.candidates)
