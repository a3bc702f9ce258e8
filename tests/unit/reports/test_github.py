"""The job summary and the annotations, within GitHub's limits and read as its runner reads them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora.reports import github, markdown
from pytest_wanlora.reports.escaping import plain
from pytest_wanlora.reports.markdown_filters import blocks
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.verdict.judgement import ItemId, Verdict
from tests.unit.reports.records import SCENARIOS, compared, file_judged, run_record
from tests.unit.reports.sample_records import EPOCHS, epochs_record, mission_record

CITY, NATURE, ACTION = SCENARIOS
PAGE = markdown.short(epochs_record(), "en")
SMALLEST = len(Page.SUMMARY_CUT.say("en").encode()) + 1


def run(line: str) -> tuple[str, str, str]:
    """Kind, title and message of a workflow command, by the rules of GitHub's runner."""
    assert line.startswith("::")
    info, _, data = line[2:].partition("::")
    kind, _, properties = info.partition(" ")
    pairs = dict(each.split("=", 1) for each in properties.split(",") if each)
    assert set(pairs) == {"title"}
    title = pairs["title"]
    for token, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        title = title.replace(token, character)
    for token, character in (("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        data = data.replace(token, character)
    return kind, title, data


class TestSummary:
    def test_what_fits_is_the_page(self) -> None:
        assert github.summary(epochs_record()) == PAGE
        assert github.summary(epochs_record(), limit=len(PAGE.encode())) == PAGE

    def test_the_limit_is_github_s(self) -> None:
        assert github.LIMIT < 2**20

    @settings(deadline=None, max_examples=60)
    @given(limit=st.integers(SMALLEST, len(PAGE.encode()) - 1))
    def test_it_is_cut_to_the_limit_and_says_so(self, limit: int) -> None:
        found = github.summary(epochs_record(), limit=limit)
        assert len(found.encode()) <= limit
        assert found.endswith(Page.SUMMARY_CUT.say("en") + "\n")
        kept = found.removesuffix(Page.SUMMARY_CUT.say("en") + "\n").rstrip("\n")
        assert PAGE.startswith(kept)
        assert found.count("```") % 2 == 0

    def test_the_verdict_is_the_last_thing_to_go(self) -> None:
        verdicts = "\n\n".join(blocks(PAGE)[:3])
        found = github.summary(epochs_record(), limit=len(verdicts.encode()) + SMALLEST + 2)
        assert found.startswith(verdicts)

    def test_a_limit_without_room_for_the_sentence_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least"):
            github.summary(epochs_record(), limit=10)

    @pytest.mark.parametrize("names", [EPOCHS[:1], EPOCHS, [f"epoch-{n}" for n in range(60)]])
    def test_it_fits_one_screen_whatever_fails(self, names: list[str]) -> None:
        failed = [
            replace(compared(f"s{n}", "clip", 1.0, 0.5, candidate=name), reason=f"reason {n}")
            for name in names
            for n in range(25)
        ]
        page = github.summary(run_record(failed, names=names, notes=tuple(f"note {n}" for n in range(9))))
        assert len(page.splitlines()) <= 40
        assert "and 50 more" in page or len(names) < 60

    def test_it_leads_with_the_recommendation(self) -> None:
        title, advice, table, *_ = blocks(PAGE)
        assert title.startswith("# LoRA gate report")
        assert advice.startswith("**Gate `epoch-2` alone, then publish it.")
        assert "| `epoch-0` | ❌ may not be published | 6 | 5 | " in table

    def test_korean(self) -> None:
        assert github.summary(mission_record(), language="ko").startswith("# LoRA 추론 결과")


class TestAnnotations:
    def test_a_good_run_has_none(self) -> None:
        assert github.annotations(run_record([file_judged()])) == ()

    def test_errors_and_warnings(self) -> None:
        judgements = [compared(NATURE, "clip", 1.0, 0.5), compared(CITY, "clip", 1.0, 0.97)]
        assert [run(line) for line in github.annotations(run_record(judgements))] == [
            (
                "error",
                "epoch-0: fail, CLIPScore of test2_nature",
                judgements[0].reason,
            ),
            (
                "warning",
                "epoch-0: warn, CLIPScore of test1_korean_city",
                judgements[1].reason,
            ),
        ]

    def test_one_reason_in_many_places_is_one_annotation(self) -> None:
        lost = [
            replace(
                compared(scenario, "clip", 1.0, 1.0), verdict=Verdict.MISSING_BASELINE, reason="none: here"
            )
            for scenario in SCENARIOS
        ]
        assert [run(line) for line in github.annotations(run_record(lost))] == [
            ("error", "epoch-0: no baseline, CLIPScore of test1_korean_city", "none: here (3 checks)")
        ]

    def test_ten_of_a_kind_and_the_last_says_how_many_more(self) -> None:
        judgements = [
            replace(compared(f"s{number}", "clip", 1.0, 0.5), reason=f"reason {number}")
            for number in range(25)
        ]
        judgements += [
            replace(compared(f"s{number}", "fvd", 100.0, 110.0), reason=f"reason {number}")
            for number in range(10)
        ]
        found = [run(line) for line in github.annotations(run_record(judgements))]
        kinds = [kind for kind, _, _ in found]
        assert (kinds.count("error"), kinds.count("warning")) == (10, 10)
        assert found[9][2].startswith("and 16 more")
        assert "more" not in found[19][2]

    def test_every_candidate_has_its_turn(self) -> None:
        judgements = [
            replace(compared(f"s{number}", "clip", 1.0, 0.5, candidate="epoch-0"), reason=f"{number}")
            for number in range(20)
        ]
        judgements.append(compared("s0", "clip", 1.0, 0.5, candidate="epoch-1"))
        found = github.annotations(run_record(judgements, names=EPOCHS[:2]))
        assert any(run(line)[1].startswith("epoch-1") for line in found)

    def test_what_nobody_judged_is_an_error(self) -> None:
        expected = [ItemId("regression", "epoch-0", NATURE, "clip")]
        found = [run(line) for line in github.annotations(run_record([], expected=expected))]
        assert found[0][0] == "error"
        assert "not measured" in found[0][2]

    def test_a_partial_run_is_an_error(self) -> None:
        found = [run(line) for line in github.annotations(run_record([file_judged()], partial=True))]
        assert [kind for kind, _, _ in found] == ["error"]
        assert "may not be published" in found[0][2]

    @given(reason=st.text(max_size=60), name=st.text(min_size=1, max_size=30))
    def test_nothing_gets_out_of_its_line(self, reason: str, name: str) -> None:
        judged = replace(compared(NATURE, "clip", 1.0, 0.5, candidate=name), reason=reason)
        lines = github.annotations(_named(judged.candidate, replace(judged, scenario=f"{name}|")))
        assert len(lines) == 1
        assert len(lines[0].splitlines()) == 1
        kind, title, message = run(lines[0])
        assert kind == "error"
        assert message == plain(reason, 2000, "en")
        assert title == plain(f"{name}: fail, CLIPScore of {name}|", 200, "en")

    def test_a_command_within_a_name_stays_a_name(self) -> None:
        judged = replace(compared(NATURE, "clip", 1.0, 0.5), reason="x\n::error::y%0A::set-output::z")
        assert run(github.annotations(run_record([judged]))[0])[2] == "x ::error::y%0A::set-output::z"

    def test_a_name_that_looks_like_a_command_stays_a_name(self) -> None:
        name = "a::b,file=/etc/passwd,title=%3A%25"
        judged = compared(NATURE, "clip", 1.0, 0.5, candidate=name)
        found = run(github.annotations(_named(name, judged))[0])
        assert found == (
            "error",
            f"{name}: fail, CLIPScore of test2_nature",
            judged.reason,
        )


def _named(name: str, judged: object) -> RunRecord:
    return run_record([judged], names=(name,))  # type: ignore[list-item]  # replace() keeps the type
