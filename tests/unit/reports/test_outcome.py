"""What could not be measured does not look like a bad checkpoint, and each cause stands once in a view."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_wanlora.errors import RecordError
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.reports import github, html, html_checkpoints, markdown, model_card, next_steps, terminal
from pytest_wanlora.results.parts import CandidateCard, Storing, Totals
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.verdict.decision import RunOutcome
from pytest_wanlora.verdict.judgement import ALL, ItemId, ItemOutcome, PytestOutcome, Verdict
from tests.unit.reports.pages import parsed
from tests.unit.reports.records import SCENARIOS, compared, race_card, run_record
from tests.unit.reports.sample_records import epochs_record

LOST = "no such file: base.safetensors"
CAUSES = {"clip": (Verdict.ERROR, "the disk is full"), "fvd": (Verdict.MISSING_BASELINE, LOST)}


@pytest.fixture
def unmeasured() -> RunRecord:
    judgements = [
        replace(
            compared(scenario, metric, 1.0, 1.0),
            verdict=verdict,
            reason=reason,
            next_command=f"mend {metric}",
            value=None,
            code=None,
        )
        for scenario in SCENARIOS
        for metric, (verdict, reason) in CAUSES.items()
    ]
    return run_record(judgements)


def test_the_terminal_says_each_cause_once(unmeasured: RunRecord) -> None:
    lines = terminal.summary(unmeasured, "results.json")
    assert lines[0] == "not measured: 2 causes"
    text = "\n".join(lines)
    for number, (metric, (_, reason)) in enumerate(CAUSES.items(), 1):
        assert text.count(reason) == 1
        assert f"{number}. {reason}\n   {len(SCENARIOS)} items, the first test_regression" in text
        assert text.count(f"next: mend {metric}") == 1


def test_what_the_notes_say_is_not_said_again(unmeasured: RunRecord) -> None:
    notes = tuple(cause.sentence for cause in unmeasured.causes)
    text = "\n".join(terminal.summary(unmeasured.model_copy(update={"notes": notes}), "results.json"))
    assert all(text.count(reason) == 1 for _, reason in CAUSES.values())


def test_html_says_each_cause_once_before_the_scenarios(unmeasured: RunRecord) -> None:
    text = html.page(unmeasured, Path("nowhere"))
    page = parsed(text)
    verdict = page.words.partition("Skip to the verdict")[2].partition("Matrix Each")[0]
    assert "epoch-0 could not be measured, so it may not be published" in verdict
    assert '<section id="verdict" class="verdict none"' in text
    for metric, (_, reason) in CAUSES.items():
        assert verdict.count(reason) == 1
        assert verdict.count(f"next: mend {metric}") == 1


@pytest.mark.parametrize(
    ("language", "headline"), [("en", "**Not measured: 2 causes.**"), ("ko", "**측정 안 됨: 원인 2건.**")]
)
def test_markdown_and_the_job_summary(unmeasured: RunRecord, language: str, headline: str) -> None:
    for page in (markdown.page(unmeasured, language), github.summary(unmeasured, language=language)):  # type: ignore[arg-type]
        verdict = page.splitlines()[2]
        assert headline in verdict
        assert verdict.startswith("🛑")
        assert all(page.count(reason) == 1 for _, reason in CAUSES.values())
    assert len(github.annotations(unmeasured)) == len(CAUSES)


def test_the_record_says_the_outcome_and_one_that_does_not_follow_is_refused(unmeasured: RunRecord) -> None:
    document = json.loads(unmeasured.to_json())
    assert document["outcome"] == "not_measured"
    assert RunRecord.from_json(unmeasured.to_json()) == unmeasured
    document["outcome"] = "passed"
    with pytest.raises(RecordError, match="its judgements and tests give 'not_measured'"):
        RunRecord.from_json(json.dumps(document))


def test_the_outcome_of_a_run_is_that_of_its_worst_checkpoint(unmeasured: RunRecord) -> None:
    good = run_record([compared(SCENARIOS[0], "clip", 1.0, 1.0)])
    assert good.outcome is RunOutcome.PASSED
    assert epochs_record().outcome is RunOutcome.FAILED
    assert good.model_copy(update={"partial": True}).outcome is RunOutcome.PARTIAL
    assert good.model_copy(update={"exit_status": 1}).ended(1).outcome is RunOutcome.PARTIAL
    other = unmeasured.model_copy(update={"other_failures": ("test_x.py::test",)})
    assert other.outcome is RunOutcome.FAILED
    skipped = (ItemOutcome("test_x.py::test", None, PytestOutcome.SKIPPED),)
    assert good.model_copy(update={"project_tests": skipped}).outcome is RunOutcome.PARTIAL


REFUSED = Storing(
    name="accepted", stored=False, refused=True, why=("clip is worse",), next_command="pytest --wanlora-force"
)
LOST_ONE = Storing(name="accepted", stored=False, why=("the disk is full",), next_command="df")
STORED = Storing(name="accepted", stored=True)
NOT_RUN = Storing(name="accepted", stored=False)


def _storing(storing: Storing) -> RunRecord:
    whole = [compared(SCENARIOS[0], "clip", 1.0, 1.0)]
    record = run_record(whole, partial=True, baseline=None, storing=storing)
    return record.ended(0 if storing.stored else 1)


@pytest.mark.parametrize(
    ("storing", "outcome", "english", "korean", "step"),
    [
        (REFUSED, "failed", "was refused as the baseline", "거부했습니다", "baseline_insist"),
        (LOST_ONE, "not_measured", "was not measured", "측정하지 못해", "baseline_not_stored"),
        (NOT_RUN, "partial", "was not measured", "측정하지 못해", "baseline_not_stored"),
        (STORED, "passed", "was stored as the baseline", "저장했습니다", "baseline_stored"),
    ],
)
def test_a_run_that_was_to_store_a_baseline_says_what_came_of_it_and_is_never_called_partial(
    storing: Storing, outcome: str, english: str, korean: str, step: str
) -> None:
    record = _storing(storing)
    assert record.outcome == outcome
    assert not record.candidates[0].publishable
    assert RunRecord.from_json(record.to_json()) == record
    assert [each.key for each in next_steps.next_steps(record, "epoch-0")] == [step]
    lines = terminal.summary(record, "results.json")
    views = {
        "terminal": "\n".join(lines),
        "page": html.page(record, Path("nowhere")),
        "en": markdown.page(record, "en"),
        "ko": markdown.page(record, "ko"),
        "job": github.summary(record),
    }
    for text in views.values():
        assert all(why in text for why in storing.why)
        assert not re.search("[Pp]artial run|run was partial|부분 실행", text)
        assert "No other checkpoint was gated" not in text
    assert f"epoch-0: {storing.reason}"[:60] in views["terminal"]
    assert (lines[0] == "not measured: 1 cause") == (storing is LOST_ONE)
    assert not any(re.search("(?<![0-9])0 causes|원인 0건", text) for text in views.values())
    assert (f"  next: {storing.next_command}" in lines) == bool(storing.next_command)
    assert english in views["page"]
    assert english in views["en"]
    assert english in views["job"]
    assert korean in views["ko"]
    assert ("✅" in views["en"].splitlines()[2]) == storing.stored


def test_a_base_that_was_not_stored_is_named_without_a_strength() -> None:
    base = CandidateCard(name="base", sha256=None, scale=0.0, publishable=False, reason="the model itself")
    record = run_record([], partial=True, baseline=None, storing=LOST_ONE, candidates=(base,)).ended(1)
    said = ["\n".join(terminal.summary(record, "results.json")), html.page(record, Path("nowhere"))]
    assert "base: not stored as the baseline 'accepted': the disk is full" in said[0]
    assert not any("at strength" in text for text in said)


@pytest.mark.parametrize(
    ("storing", "exit_status", "said"),
    [
        (STORED, 1, "The baseline was stored, but not everything ran; exit code 1."),
        (REFUSED, 1, "Nothing was stored; exit code 1."),
    ],
)
def test_the_last_line_of_a_run_that_was_to_store_a_baseline(
    storing: Storing, exit_status: int, said: str
) -> None:
    assert terminal.only_part(exit_status, nothing=False, storing=storing) == said
    assert _storing(storing).ended(exit_status).outcome != "passed"


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        (0, "Only part of the gate ran;"),
        (1, "All of the gate ran, but not 1 project test;"),
        (2, "All of the gate ran, but not 2 project tests;"),
    ],
)
def test_a_gate_that_is_whole_is_not_called_a_part_for_a_project_test(tests: int, said: str) -> None:
    assert terminal.only_part(1, nothing=False, storing=None, tests=tests).startswith(said)


@pytest.mark.parametrize(("seconds", "summed"), [(80.0, True), (90.0, False)])
def test_seconds_of_several_workers_are_called_a_sum(seconds: float, summed: bool) -> None:
    totals = Totals(rendered=24, reused=0, failed=0, seconds=seconds, rendering_seconds=85.0)
    record = run_record([compared(SCENARIOS[0], "clip", 1.0, 1.0)], totals=totals)
    (line,) = [each for each in terminal.summary(record, "run") if "rendered in" in each]
    assert line.startswith("24 videos rendered in 1 min 25 s") is True
    page = parsed(html.page(record, Path("nowhere"))).words
    for text in (line, page):
        assert ("1 min 25 s (summed over the workers)" in text) == summed


def test_what_removes_the_cause_is_to_be_done_before_the_gate_runs_again(unmeasured: RunRecord) -> None:
    first, second, *_ = next_steps.next_steps(unmeasured, "epoch-0")
    assert (first.key, second.key, second.command) == ("measure_baseline", "cause_first", "mend clip")
    page = markdown.page(run_record([j for j in unmeasured.judgements if j.metric == "clip"]), "en")
    top = page.partition("## Overview")[0]
    assert "Do this first, then gate it again." in top
    assert "```\nmend clip\n```" in top
    assert "above" not in top


@pytest.mark.parametrize(
    ("chance", "english", "korean"),
    [
        (None, None, None),
        (0.004, "Other seeds would disagree with probability below 2%.", "달라질 확률은 2% 미만"),
        (0.327, "Other seeds would disagree with probability about 33%.", "달라질 확률은 약 33%"),
    ],
)
def test_every_view_says_how_likely_other_seeds_would_disagree_where_that_is_known(
    chance: float | None, english: str | None, korean: str | None
) -> None:
    record = run_record([compared(SCENARIOS[0], "clip", 1.0, 1.0)])
    card = record.candidates[0].model_copy(update={"other_seeds": chance})
    record = record.model_copy(update={"candidates": (card,)})
    page = parsed(html.page(record, Path("nowhere"))).words
    terminal_page = " ".join(" ".join(terminal.summary(record, "results.json")).split())
    for view in (page, terminal_page, markdown.page(record, "en"), github.summary(record)):
        assert ((english or "Other seeds") in view) == (chance is not None)
    assert ((korean or "달라질 확률") in markdown.page(record, "ko")) == (chance is not None)


@pytest.mark.parametrize(("exit_status", "outcome"), [(0, RunOutcome.PASSED), (1, RunOutcome.PARTIAL)])
def test_a_run_that_gates_nothing(exit_status: int, outcome: RunOutcome) -> None:
    assert run_record([], names=()).model_copy(update={"exit_status": exit_status}).outcome is outcome


def test_the_change_of_a_distance_is_the_one_above_its_floor_in_every_view() -> None:
    known = [compared(scenario, "fvd", 100.0, 130.0, n=8, width=0.05) for scenario in (*SCENARIOS, ALL)]
    # 100 - 60 -> 130 - 58: 80 % worse where the numbers as they stand say 30 %
    judgements = [
        replace(
            each,
            change=0.8,
            reference_n=64,
            evidence=replace(each.evidence, change=0.8, baseline_floor=60.0, value_floor=58.0),  # type: ignore[type-var]  # there is one
        )
        for each in known
    ]
    record = run_record(judgements)
    views = {
        "terminal": "\n".join(terminal.summary(record, "results.json")),
        "html": html.page(record, Path("nowhere")),
        "markdown": markdown.page(record, "en"),
        "korean": markdown.page(record, "ko"),
        "job summary": github.summary(record),
        "model card": model_card.fragment(record, "epoch-0"),
    }
    for name, text in views.items():
        assert re.search(r"80(\.0)? ?%", text), name
        assert not re.search(r"[^0-9]30(\.0)? ?%", text), name
    # beside the change stand the values that it is of
    assert "40.00 -> 72.00 above the floor" in views["terminal"]
    assert "40.00 \N{RIGHTWARDS ARROW} 72.00 above the floor of 8 videos" in views["html"]


def test_one_reason_to_leave_out_several_checkpoints_is_told_once() -> None:
    items = [ItemId("checkpoint", name, "", "") for name in ("epoch-0", "epoch-1", "epoch-2")]
    items.append(ItemId("videos", "epoch-2", SCENARIOS[0], ""))
    stopped = [ItemOutcome(str(item), item.candidate, PytestOutcome.STOPPED, "Ctrl-C") for item in items[:3]]
    assert terminal.left_out_lines(stopped, items) == [
        "epoch-0, epoch-1: left out: 2 of 2 items, the first test_checkpoint[epoch-0]: "
        "not run: the run was stopped: Ctrl-C",
        "epoch-2: left out: 1 of 2 items, the first test_checkpoint[epoch-2]: "
        "not run: the run was stopped: Ctrl-C",
    ]


def test_a_race_in_which_nobody_was_gated_may_not_be_published_in_any_view() -> None:
    stopped = {
        "winner": None,
        "gated": "",
        "not_told_apart": (),
        "stopped": "late",
        "next_command": "pytest --on",
    }
    record = run_record([], names=(), race=race_card(**stopped), partial=True, exit_status=2)
    said = "The race stopped before its end, and no checkpoint was gated: nothing may be published."
    assert record.outcome is RunOutcome.PARTIAL
    page = parsed(html.page(record, Path("nowhere")))
    assert {"race", "verdict"} <= set(page.ids)
    assert not {"matrix", "checkpoint", "next"} & set(page.ids)
    for view in (page.words, markdown.page(record, "en"), markdown.short(record, "en")):
        assert said in view
        assert "pytest --on" in view
        assert "stopped before its end, late" in view
    assert f"::error title=race::{said}" in github.annotations(record)
    assert "  next: pytest --on" in terminal.summary(record, "results.json")


def test_what_fails_stands_in_one_order_in_every_view() -> None:
    """A loss of 78 % is 3.1 fail bands of colour diversity, and one of 22 % is 4.4 of CLIPScore."""
    first, second, third = SCENARIOS
    open_ = replace(compared(third, "clip", 1.0, 0.92), verdict=Verdict.UNDECIDED)
    lost = compared(second, "sharpness", 1.0, 1.0)
    judgements = [
        open_,
        replace(lost, verdict=Verdict.ERROR, reason="the disk is full", value=None),
        compared(second, "color", 1.0, 0.22, width=0.001),
        compared(first, "clip", 1.0, 0.78, width=0.001),
        compared(third, "temporal", 1.0, 0.5, width=0.001),
    ]
    record = run_record(judgements)
    failing = record.decision("epoch-0").failing
    assert [judged.verdict for judged in failing] == [*[Verdict.FAIL] * 3, Verdict.UNDECIDED, Verdict.ERROR]
    titles = [METRICS[judged.metric].title for judged in failing if not judged.verdict.unmeasured]
    assert titles == ["Temporal consistency", "CLIPScore", "Colour diversity", "CLIPScore"]

    def told(text: str) -> list[str]:
        return re.findall("|".join(sorted(set(titles))), text)

    page = markdown.page(record, "en").partition("Worst first")[2].partition("\n## ")[0]
    assert [told(line)[0] for line in page.splitlines() if re.search("fail:|undecided:", line)] == titles
    lines = terminal.summary(record, "run")
    assert [told(line)[0] for line in lines if re.match("  (FAIL|UNDECIDED) ", line)] == titles
    (view,) = html_checkpoints.candidate_views(record, html_checkpoints.Anchors(record))
    assert [told(line.place)[0] for line in view.failing if line.mark.kind != "unknown"] == titles[:3]
    assert told(view.failing[3].place)[0] == titles[3]
    assert "the disk is full" in view.failing[4].words
    assert [told(title)[0] for title, _ in github._errors(record, record.candidates[0])[:4]] == titles
