"""The Markdown page: its golden files, the report it grew from, and that no verdict is lost."""

from __future__ import annotations

import re
from importlib import resources
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora.phrases import LANGUAGES, Language
from pytest_wanlora.reports import i18n, markdown
from pytest_wanlora.reports.markdown_filters import blocks
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.results.training_data import ScenarioShare
from pytest_wanlora.verdict.judgement import ALL, ItemId, Judgement, Verdict
from pytest_wanlora.verdict.standing import STANDINGS, Standing
from tests.unit.reports.markdown_reading import Table, sections, tables
from tests.unit.reports.records import SCENARIOS, compared, file_judged, run_record
from tests.unit.reports.sample_records import (
    FIGURES,
    REPORTED,
    SCORES,
    epochs_record,
    mission_record,
    mission_stated,
)
from tests.unit.reports.stated import MEAN, Stated, disagreements
from tests.unit.reports.write_golden import COMMAND, GOLDEN, PAGES, TERMINALS

#: Worked out by hand from the report's table: what it states, what its scores give, to the decimals shown.
OFF = {
    (MEAN, "clip", "difference"): ("-0.0098", "-0.009733"),  # the difference of rounded means
    (MEAN, "fvd", "baseline"): ("135.79", "135.7833"),  # 407.35 / 3
    (MEAN, "sharpness", "difference"): ("-13.9", "-13.833"),  # 176.2 / 3 - 217.7 / 3
    (MEAN, "color", "difference"): ("-11.8", "-11.867"),  # 216.8 / 3 - 252.4 / 3
    (MEAN, "overall", "value"): ("79.0", "79.300"),  # 237.9 / 3
    (MEAN, "overall", "difference"): ("-7.4", "-7.133"),  # 237.9 / 3 - 259.3 / 3
    (MEAN, "overall", "percent"): ("-8.6", "-8.253"),  # -7.1333 / 86.4333
    (MEAN, "clip", "baseline"): ("0.608", "0.60747"),  # 1.8224 / 3, rounded twice
    (MEAN, "clip", "baseline_share"): ("203", "202.49"),  # 0.607467 / 0.3
    ("test1_korean_city", "overall", "formula"): ("94.7", "96.770"),  # 39.80 + 30.00 + 26.97
    ("test2_nature", "overall", "formula"): ("70.8", "70.030"),  # 38.20 + 14.55 + 17.28
    ("test3_action", "overall", "formula"): ("72.4", "68.140"),  # 39.04 + 8.31 + 20.79
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_as_it_was(name: str) -> None:
    make, language = PAGES[name]
    path = GOLDEN / name
    assert path.is_file(), f"{path} is missing; run: {COMMAND}"
    assert make(language) == path.read_text(encoding="utf-8"), f"if that is wanted, run: {COMMAND}"


def test_every_golden_file_is_compared() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {*PAGES, *TERMINALS}


class TestTheReportItGrewFrom:
    """The page made from the report's scores carries every derived figure of its tables."""

    def test_the_figures_that_are_off_are_those_worked_out_by_hand(self) -> None:
        found = disagreements(mission_record(), "epoch-0", mission_stated())
        told = {
            (each.stated.scenario, each.stated.metric, each.stated.figure): (each.stated.text, each.computed)
            for each in found
        }
        assert told == OFF

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_every_figure_is_there_or_known_to_be_off(self, language: Language) -> None:
        cells = _cells(markdown.page(mission_record(), language), language)
        missing = []
        checked = 0
        for each in mission_stated():
            if each.figure in ("formula", "baseline_formula"):
                continue
            checked += 1
            if not _shows(cells[each.scenario, each.metric, each.figure], each, language):
                missing.append((each.scenario, each.metric, each.figure, each.text))
        assert checked == 18 * 2 + 21 + 8 + 24 - 2  # FVD's means stand in two tables
        # the cell 0.6075 rounds to it, the mean 0.607467 does not
        twice = (MEAN, "clip", "baseline", "0.608")
        off = {(*key, text) for key, (text, _) in OFF.items() if key[2] != "formula"}
        assert set(missing) == off - {twice}

    def test_the_three_stories(self) -> None:
        page = markdown.page(mission_record(), "ko")
        for scenario, category, outcome in (
            ("test1_korean_city", "urban", "성공 사례"),
            ("test2_nature", "nature", "실패 사례"),
            ("test3_action", "action", "소폭 악화"),
        ):
            assert f"{scenario}` ({category}) - {outcome}" in page

    def test_both_keep_the_limits(self) -> None:
        page = markdown.page(mission_record(), "ko")
        assert "## RAPA 2025 기준 평가" in page
        assert "절대 기준 4개를 모두 충족합니다" in page


def _cells(page: str, language: Language) -> dict[tuple[str, str, str], str]:
    """What the page's tables show, by place, metric and figure."""
    by_head = {tuple(found.head): found for found in tables(page)}
    head = Page.SCENARIO.say(language), Page.METRIC.say(language)
    overall = next(found for titles, found in by_head.items() if titles[:2] == head and len(titles) == 8)
    means = next(found for titles, found in by_head.items() if titles[0] == head[1] and len(titles) == 6)
    limits = next(found for titles, found in by_head.items() if titles[0] == Page.LIMIT.say(language))
    cells: dict[tuple[str, str, str], str] = {}
    scenario = ""
    for row in overall.rows:
        scenario = row[0] or scenario
        cells |= _figures(scenario, _metric(row[1], language), [*row[2:6], row[7]])
    for row in means.rows:
        metric = _metric(row[0], language)
        # the distance of all videos pooled carries the mark, the mean of the scenarios the figures
        figures = _figures(MEAN, metric, row[1:])
        cells |= (
            figures if row[5] != "-" else {key: cell for key, cell in figures.items() if key[2] != "mark"}
        )
    for row in limits.rows[:2]:
        metric = _metric(row[0], language)
        for figure, cell in (("baseline_share", row[2]), ("share", row[3])):
            cells[MEAN, metric, figure] = cell.partition("(")[2]
    return cells


def _metric(title: str, language: Language) -> str:
    return next(metric for metric in REPORTED if title.startswith(i18n.metric_name(metric, language)))


def _figures(scenario: str, metric: str, row: list[str]) -> dict[tuple[str, str, str], str]:
    names = ("baseline", "value", "difference", "percent", "mark")
    return {(scenario, metric, name): cell for name, cell in zip(names, row, strict=True)}


def _shows(cell: str, stated: Stated, language: Language) -> bool:
    if stated.figure == "mark":
        verdict = Verdict(stated.text)
        return cell == f"{i18n.MARKS[verdict]} {i18n.VERDICTS[verdict].say(language)}"
    number = float(cell.split(" ")[0].rstrip("%)"))
    return round(number, len(stated.text.partition(".")[2])) == float(stated.text)


def test_the_figures_of_the_data_file_are_all_used() -> None:
    assert set(FIGURES) == {"comparisons", "averages", "limits"}
    assert set(FIGURES["comparisons"]) == set(SCENARIOS)
    assert set(SCORES["scenarios"]) == {*SCENARIOS, "averages"}


@pytest.mark.parametrize("language", LANGUAGES)
class TestSeveralCheckpoints:
    def test_the_verdicts_come_first_and_the_best_is_named(self, language: Language) -> None:
        parts = blocks(markdown.page(epochs_record(), language))
        assert "`epoch-2`" in parts[1].split(":")[0] + parts[1].split(".")[0]
        lines = parts[2].splitlines()
        assert [line.split("`")[1] for line in lines] == ["epoch-0", "epoch-1", "epoch-2"]
        assert ["❌" in line for line in lines] == [True, False, False]
        assert parts[3].startswith(f"**{Page.NEXT_STEP.say(language)}:** ")
        assert "epoch-2.safetensors" in parts[4]

    def test_every_metric_has_its_course(self, language: Language) -> None:
        courses = [
            each for each in tables(markdown.page(epochs_record(), language)) if _is_course(each, language)
        ]
        assert len(courses) == 4
        for found in courses:
            assert [row[0] for row in found.rows[:3]] == ["epoch-0", "epoch-1", "epoch-2"]
            assert all("-" not in row[1:] for row in found.rows)

    def test_training_data_stands_beside_the_outcomes(self, language: Language) -> None:
        page = markdown.page(epochs_record(), language)
        found = next(each for each in tables(page) if each.heading == Page.DATA.say(language))
        failure = i18n.OUTCOMES["failure"].say(language)
        nature = next(row for row in found.rows if row[0] == "test2_nature")
        assert nature[2] == failure
        assert nature[-1].startswith("5.0%")
        said = sections(page)[Page.DATA.say(language)]
        assert any("epoch-0" in line and "test3_action" in line for line in said)
        assert any("0.333" in line for line in said)
        assert any("0.017" in line for line in said)

    def test_a_category_that_no_list_knows_has_no_share(self, language: Language) -> None:
        record = epochs_record()
        card = record.training_data
        assert card is not None
        nobody = ScenarioShare(category="ghosts", prompts=None, share=None, rare=False)
        told = card.model_copy(update={"scenarios": {"test1_korean_city": nobody}})
        page = markdown.page(record.model_copy(update={"training_data": told}), language)
        found = next(each for each in tables(page) if each.heading == Page.DATA.say(language))
        assert [row[-2:] for row in found.rows] == [["-", "-"]]

    def test_targets_say_whether_they_are_reached(self, language: Language) -> None:
        found = [
            each
            for each in tables(markdown.page(epochs_record(), language))
            if each.heading == Page.TARGETS.say(language)
        ]
        reached, still_open = Page.REACHED.say(language), Page.OPEN.say(language)
        assert [row[2] for row in found[0].rows] == [reached, still_open, still_open]
        assert [row[2] for row in found[2].rows] == [reached, reached, still_open]

    def test_the_notes_are_there(self, language: Language) -> None:
        said = "\n".join(sections(markdown.page(epochs_record(), language))[Page.NOTES.say(language)])
        for words_of_it in ("worker gw1 died", "torch is 2.14.1", "out of memory"):
            assert words_of_it in said


def _is_course(found: Table, language: Language) -> bool:
    return bool(found.rows) and found.rows[-1][0] == Page.COURSE.say(language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_weak_evidence_says_how_many_videos_would_be_enough(language: Language) -> None:
    page = markdown.page(epochs_record(), language)
    assert STANDINGS[Standing.WEAK].say(language, n_enough=19) in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_run_that_measures_the_base_model_has_a_page(language: Language) -> None:
    record = run_record([], names=())
    page = markdown.page(record, language)
    assert i18n.BEST["no_candidate"].say(language) in page
    assert Page.COMPARED.say(language) not in page


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_record_of_which_nothing_is_known_has_a_page(language: Language) -> None:
    record = run_record([file_judged()], partial=True, baseline=None, suite=_bare_suite())
    page = markdown.page(record, language)
    assert Page.PARTIAL.say(language) in page
    assert Page.NO_BASELINE.say(language) in page
    assert "nan" not in page.lower()


def _bare_suite() -> Any:  # noqa: ANN401 - a card
    return epochs_record().suite.model_copy(
        update={"fingerprint": {}, "looks": (), "tolerances": {}, "limits": ()}
    )


PLACES = [(scenario, metric) for scenario in (*SCENARIOS, ALL) for metric in ("clip", "fvd", "motion")]
ITEMS = [
    ItemId("checkpoint", "epoch-0", "", ""),
    *(ItemId("regression", "epoch-0", *place) for place in PLACES),
    ItemId("limit", "epoch-0", SCENARIOS[0], "clip"),
    ItemId("limit", "epoch-0", ALL, "fvd"),
]


@st.composite
def _judged(draw: st.DrawFn, item: ItemId) -> Judgement | None:
    verdict = draw(st.sampled_from([*Verdict, None]))
    if verdict is None:
        return None
    if item.kind == "regression" and draw(st.booleans()):
        change = draw(st.floats(-2.0, 2.0))
        known = compared(
            item.scenario, item.metric, 1.0, 1.0 + change, width=draw(st.none() | st.floats(0, 2))
        )
        return Judgement(**{**vars(known), "verdict": verdict})
    reason = draw(st.sampled_from(["no such file\nnext: fetch it", "lost: the worker died", "it is black"]))
    return Judgement(item.kind, item.candidate, item.scenario, item.metric, verdict, reason)


@settings(max_examples=60, deadline=None)
@given(judged=st.tuples(*map(_judged, ITEMS)), language=st.sampled_from(LANGUAGES))
def test_no_verdict_is_lost(judged: tuple[Judgement | None, ...], language: Language) -> None:
    known = [each for each in judged if each is not None]
    record = run_record(known, expected=ITEMS)
    page = markdown.page(record, language)
    told = sections(page).get(Page.FAILED_ITEMS.say(language), [])
    for item, each in zip(ITEMS, judged, strict=True):
        if each is not None and not each.verdict.fails:
            continue
        place = Page.ALL_SCENARIOS.say(language) if item.scenario == ALL else item.scenario
        wanted = Page.FILE.say(language) if item.kind == "checkpoint" else place
        sign = i18n.MARKS[Verdict.MISSING_BASELINE if each is None else each.verdict]
        metric = i18n.metric_name(item.metric, language)
        assert any(line.startswith(sign) and wanted in line and metric in line for line in told), item
    refused = any(each is None or each.verdict.fails for each in judged)
    assert (Page.MAY_NOT.say(language, name="epoch-0") in _plain(page)) == refused
    rows = [row for found in tables(page) for row in found.rows]
    marks = [
        f"{i18n.MARKS[each.verdict]} {i18n.VERDICTS[each.verdict].say(language)}"
        for each in known
        if each.kind == "limit" or (each.kind == "regression" and each.scenario != ALL)
    ]
    assert all(any(row[-1] == mark for row in rows) for mark in marks)


def _plain(page: str) -> str:
    return page.replace("`", "")


def test_every_phrase_that_the_page_names_exists() -> None:
    # a branch of the template that no record here takes would fail only in a user's run
    files = resources.files("pytest_wanlora.reports")
    for name in ("templates/report.md.j2", "markdown.py", "markdown_filters.py"):
        named = set(re.findall(r"[\"']([A-Z][A-Z_]{2,})[\"']", (files / name).read_text(encoding="utf-8")))
        assert named
        assert named <= set(Page.__members__)
