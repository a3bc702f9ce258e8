"""Names that were chosen to break the page: they break nothing and inject nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_wanlora.baseline.contents import Prompt
from pytest_wanlora.phrases import LANGUAGES, Language
from pytest_wanlora.reports import escaping, markdown
from pytest_wanlora.reports.words_page import Page
from pytest_wanlora.results.parts import Failure
from pytest_wanlora.results.run_record import RunRecord
from pytest_wanlora.verdict.judgement import ItemOutcome, PytestOutcome, Verdict
from tests.unit.reports.markdown_reading import FORBIDDEN, every, parse, tables
from tests.unit.reports.records import compared, file_judged, run_record, suite_card
from tests.unit.reports.sample_records import training_data

PIECES = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<!--",
    "</td></table>",
    "|",
    " | ",
    "\\|",
    "\\",
    "`",
    "```\n",
    "~~~\n",
    "\n",
    "\r\n\r\n",
    "\t",
    "# h",
    "- l",
    "1. n",
    "2) n",
    "---",
    "===",
    "> q",
    "[a](http://evil.example)",
    "![a](http://evil.example/x.png)",
    "[a]: http://evil.example",
    "https://evil.example",
    "www.evil.example",
    "a@evil.example",
    "@everyone",
    "#1",
    ":boom:",
    "**b**",
    "__b__",
    "_i_",
    "~~s~~",
    "$x$",
    "&lt;b&gt;",
    "&#60;",
    "{x}",
    "%s",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u200f",
    "\x1b[31m",
    "\u2028",
    "عربي",
    "עברית",
    "👩\u200d👩\u200d👧",
    "벚꽃",
    "e\u0301",
    "x" * 90,
]
OUTCOMES = (PytestOutcome.FAILED, PytestOutcome.PASSED, PytestOutcome.DESELECTED)
names = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), min_size=1, max_size=4).map("".join)
#: Text that JSON and UTF-8 can hold.
sound = names.filter(lambda name: not any(0xD800 <= ord(character) < 0xE000 for character in name))


def _record(take: Callable[[], str]) -> RunRecord:
    """A record in which everything that somebody can name has one of these names."""
    scenarios = [take() for _ in range(3)]
    candidates = [take(), take()]
    judgements = [file_judged(Verdict.FAIL, candidate=candidates[0], words=take())]
    judgements += [
        replace(found, reason=take(), verdict=verdict)
        for candidate in candidates
        for scenario, verdict in zip(scenarios, (Verdict.FAIL, Verdict.ERROR, Verdict.PASS), strict=True)
        for found in (compared(scenario, "clip", 1.0, 0.9, candidate=candidate),)
    ]
    card = training_data()
    record = run_record(
        judgements,
        names=candidates,
        run_id=take(),
        started=take(),
        command=("pytest", take(), take()),
        environment={take(): take()},
        versions={take(): take()},
        suite=suite_card(
            name=take(),
            prompts={
                scenario: Prompt(category=take(), prompt=take(), caption=take()) for scenario in scenarios
            },
            targets={scenarios[0]: {"clip": 1.0}},
            fingerprint={"sampling": {name: take() for name in ("height", "width", "frames", "steps")}},
        ),
        failures=(Failure(candidate=take(), scenario=take(), seed=1, message=take()),),
        notes=(take(),),
        training_data=card.model_copy(
            update={
                "file": take(),
                "shares": {take(): 0.5},
                "scenarios": {
                    name: known.model_copy(update={"category": take()})
                    for name, known in zip(scenarios, card.scenarios.values(), strict=True)
                },
                "suspicions": (
                    card.suspicions[0].model_copy(
                        update={
                            "scenario": take(),
                            "category": take(),
                            "commonest": take(),
                            "against": (take(),),
                        }
                    ),
                ),
            }
        ),
    )
    tests = [
        ItemOutcome(take(), name, outcome, take()) for name in (candidates[0], None) for outcome in OUTCOMES
    ]
    left_out = (ItemOutcome(take(), candidates[1], PytestOutcome.SKIPPED, take()),)
    update = {"project_tests": tuple(tests), "left_out": left_out, "other_failures": (take(),)}
    return record.model_copy(update=update).ended(1)


def _named(drawn: list[str]) -> RunRecord:
    """Names in turn, each with a number, since two scenarios cannot share one."""
    count = iter(range(10_000))

    def take() -> str:
        number = next(count)
        return f"{drawn[number % len(drawn)]}{number}"

    return _record(take)


@settings(max_examples=80, deadline=None)
@given(drawn=st.lists(sound, min_size=1, max_size=6), language=st.sampled_from(LANGUAGES))
def test_names_inject_nothing(drawn: list[str], language: Language) -> None:
    page = markdown.page(_named(drawn), language)
    harmless = markdown.page(_named(["name"]), language)
    tokens = parse(page)
    assert not FORBIDDEN & {token.type for token in every(tokens)}
    # the same headings, tables, rows, cells, lists and blocks of code, in the same order
    assert [token.type for token in tokens] == [token.type for token in parse(harmless)]
    assert all(len(row) == len(found.head) for found in tables(page) for row in found.rows)
    page.encode()


@settings(max_examples=60, deadline=None)
@given(drawn=st.lists(sound, min_size=1, max_size=6), language=st.sampled_from(LANGUAGES))
def test_nothing_turns_the_reading_direction_or_hides(drawn: list[str], language: Language) -> None:
    page = markdown.page(_named(drawn), language)
    assert not set(page) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u200b\u200e\u200f\u2028\x1b\x00\r\t")
    assert page.count("\u2068") == page.count("\u2069")


@pytest.mark.parametrize("language", LANGUAGES)
def test_ten_thousand_characters_are_cut_and_the_page_says_so(language: Language) -> None:
    page = markdown.page(_named(["y" * 10_000]), language)
    assert "9,9" in page
    assert "results.json" in page
    # a command that is cut would do something else: it is left out, and the page says that
    assert not [token for token in parse(page) if token.type == "fence"]
    assert Page.LONG_COMMAND.say(language, length="X").split("X")[0] in page
    assert len(page) < 60_000


@given(value=sound, language=st.sampled_from(LANGUAGES))
@settings(deadline=None)
def test_text_reads_as_it_is(value: str, language: Language) -> None:
    shown = _read(escaping.text(value, language))
    assert shown == escaping.plain(value, escaping.LINE, language)


@given(value=sound, language=st.sampled_from(LANGUAGES))
@settings(deadline=None)
def test_a_name_reads_as_it_is_in_a_table(value: str, language: Language) -> None:
    found = tables(f"# h\n\n| {escaping.name(value, language)} | b |\n| --- | --- |\n")[0]
    assert [_bare(cell) for cell in found.head] == [
        escaping.plain(value, escaping.CELL, language).strip() or "(?)",
        "b",
    ]


def _read(line: str) -> str:
    """A line as a reader sees it, in a paragraph whose start is its own."""
    tokens = parse(f"x {line}")
    content = "".join(child.content for token in tokens for child in token.children or [])
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for token in tokens for child in token.children or []} <= {"text", "code_inline"}
    return _bare(content.removeprefix("x").strip())


def _bare(shown: str) -> str:
    return shown.replace("\u200b", "").replace("\u2068", "").replace("\u2069", "")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("epoch-0", "`epoch-0`"),
        ("480x832x9_1k/epoch-0", "`480x832x9_1k/epoch-0`"),
        ("벚꽃", "`벚꽃`"),
        ("a|b", "a&#124;b"),
        ("`x`", "&#96;x&#96;"),
        ("<b>", "`<b>`"),
        ("a\nb", "`a b`"),
        ("a\u202eb", "`a[U+202E]b`"),
        ("عربي", "`\u2068عربي\u2069`"),
        ("", "`(?)`"),
        (" ", "`(?)`"),
    ],
)
def test_names(value: str, expected: str) -> None:
    assert escaping.name(value, "en") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2.31 -> 2.15, 7.2% worse (band: 5%)", "2.31 -> 2.15, 7.2% worse (band: 5%)"),
        ("test2_nature", "test2_nature"),
        ("_x_", "`_x_`"),
        ("see https://e.example", "see `https://e.example`"),
        ("www.e.example", "`www.e.example`"),
        ("by @someone", "by `@someone`"),
        ("B @ A", "B @ A"),
        ("1. first", "&#49;. first"),
        ("- item", "&#45; item"),
        ("-0.5", "-0.5"),
        ("fixes #12", "fixes &#35;12"),
        ("> quoted > twice", "&#62; quoted > twice"),
        ("model.dit[0]: hub:Wan-AI/dit*, lost", "`model.dit[0]`: `hub:Wan-AI/dit*`, lost"),
        ("(t.py::test_a[b]), 2.", "(`t.py::test_a[b]`), 2."),
        ("[a](http://e.example)", "&#91;a&#93;(http&#58;//e.example)"),
        ("a[벚꽃] ~ <b>[0]", "a&#91;벚꽃&#93; &#126; &#60;b>&#91;0&#93;"),
    ],
)
def test_texts(value: str, expected: str) -> None:
    assert escaping.text(value, "en") == expected


@given(st.text(alphabet="`~a\n", max_size=30))
def test_a_block_of_code_holds_what_it_was_given(lines: str) -> None:
    tokens = parse(escaping.code_block(lines))
    assert [token.type for token in tokens] == ["fence"]
    assert tokens[0].content == f"{lines}\n"


def test_a_part_of_an_emoji_is_no_hidden_character() -> None:
    assert escaping.plain("👩\u200d👧", 80, "en") == "👩\u200d👧"


def test_any_value_of_the_record_may_be_shown() -> None:
    known: dict[str, Any] = {"device": None, "count": 3, "list": ["<b>"]}
    page = markdown.page(run_record([file_judged()], environment=known), "en")
    assert "| list | `['<b>']` |" in page
