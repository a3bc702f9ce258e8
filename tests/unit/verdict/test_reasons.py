"""Every reason code has its sentence in every language, and a Korean report shows no English one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from string import Formatter
from typing import Any

import pytest

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.phrases import Phrase
from pytest_wanlora.reports import markdown
from pytest_wanlora.verdict.judgement import Details, Evidence, Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.reasons import OTHER_HINT, PARTS, REASONS, REMARKS, aside, reason
from tests.unit.reports.records import run_record
from tests.unit.reports.sample_records import epochs_record, mission_record

APPLIED: Details = {
    "patched": 5,
    "targets": 6,
    "changed": 4,
    "mode": "fused",
    "strength": 0.8,
    "cosine": 0.95,
    "relative_size": 0.01,
    "scenario": "city",
    "seed": 3,
}
VIDEOS: Details = {"videos": (("city", 3, "it is black"), ("city", 4, "nan"))}
MESSAGE: Details = {"message": "no such file: x.safetensors", "more": 2}
GAIN: Details = {"gain": 0.2, "first": 0.5, "last": 0.4, "curve": (0.5, 0.4), "references": ("a.png",)}
COPIED: Details = {
    "copied": (("test2_nature", 3, "clips/3.mp4"),),
    **{"clip": "clips/3.mp4", "seed": 3, "bound": 0.33, "count": 1},
}
DETAILS: dict[ReasonCode, Details] = {
    ReasonCode.VIDEOS_BROKEN: {"count": 1, "broken": (("test2_nature", 3, "clip 0.3 < 1.2 (base 2.0)"),)},
    **{code: APPLIED for code in ReasonCode if code.startswith("lora_")},
    **{code: MESSAGE for code in ReasonCode if code.startswith("not_rendered")},
    **dict.fromkeys((ReasonCode.NO_BASELINE, ReasonCode.INCOMPARABLE, ReasonCode.ERROR), MESSAGE),
    **dict.fromkeys(
        (
            ReasonCode.DEGENERATE,
            ReasonCode.NOT_FINITE,
            ReasonCode.BASELINE_NOT_FINITE,
            ReasonCode.BASELINE_LACKS_VIDEOS,
            ReasonCode.FROZEN,
        ),
        VIDEOS,
    ),
    ReasonCode.LORA_HALF_WITHOUT_EFFECT: {"expert": "low", "scenario": "test2_nature", "seed": 3},
    ReasonCode.FILE_BROKEN: {"problems": (("zero_b", 6, "6 of 6 targets change nothing"),)},
    ReasonCode.LORA_WARNED: {**APPLIED, "problems": (("zero_some", 2, "2 of 6 targets change nothing"),)},
    **{code: GAIN for code in ReasonCode if code.startswith("learned")},
    **{code: COPIED for code in ReasonCode if code.startswith("copies")},
    ReasonCode.TOO_FEW_CLIPS: {"clips": 2},
    ReasonCode.NO_VIDEO: {"places": ("city", "nature")},
    ReasonCode.UNEQUAL_SETS: {"baseline_n": 16},
    ReasonCode.RISE_WITH_LESS_MOTION: {"motion_loss": 0.3},
}
#: The text of an error exists in English only; Korean reports quote it.
QUOTED = {code for code, details in DETAILS.items() if details is MESSAGE}
EVIDENCE = Evidence(
    n=8,
    looks=(4, 8),
    change=0.2,
    low=0.1,
    high=0.3,
    level=0.9,
    decisive=False,
    p_value=0.04,
    p_adjusted=0.2,
    tested=True,
    significant=False,
    seconded=False,
    weak=True,
    n_enough=20,
    method="paired-t",
    chance_to_fail=0.4,
)


#: What a question's codes say something about.
ASKED = {
    **dict.fromkeys(("bleed", "keeps"), "bleed"),
    "learned": "likeness",
    **dict.fromkeys(("varies", "collapse"), "collapse"),
    "copies": "copies",
}


def judged(code: ReasonCode, metric: str = "sharpness") -> Judgement:
    asked = next((metric for start, metric in ASKED.items() if code.startswith(start)), None)
    known = Judgement(
        "regression" if asked is None else "question",
        "epoch-0",
        "test2_nature",
        asked or metric,
        Verdict.FAIL,
        "",
        baseline=500.0,
        value=None if code in REASONS else 400.0,
        change=0.2,
        minimum=450.0,
        warn=0.05,
        fail=0.15,
        n=8,
        evidence=EVIDENCE,
        code=code,
        details=DETAILS.get(code, {}),
    )
    return replace(known, reason=reason(known))


def phrases() -> dict[str, Phrase]:
    tables: dict[str, Mapping[Any, Phrase | None]] = {
        "reason": REASONS,
        "remark": REMARKS,
        "part": PARTS,
    }
    named = {f"{name} {key}": phrase for name, of in tables.items() for key, phrase in of.items()}
    return {"hint": OTHER_HINT, **{key: phrase for key, phrase in named.items() if phrase is not None}}


def fields(text: str) -> set[tuple[str, str]]:
    return {(name, spec or "") for _, name, spec, _ in Formatter().parse(text) if name is not None}


def test_every_code_is_of_one_table() -> None:
    assert not REASONS.keys() & REMARKS.keys()
    assert REASONS.keys() | REMARKS.keys() == set(ReasonCode)


@pytest.mark.parametrize("key", phrases())
def test_both_languages_have_the_same_fields(key: str) -> None:
    phrase = phrases()[key]
    assert fields(phrase.en) == fields(phrase.ko)
    assert not re.search("[가-힣]", phrase.en)
    assert not re.search(r"\{[^}%]*\}(은|는|이|가|을|를|과|와|으로|로)(?![가-힣])", phrase.ko)


@pytest.mark.parametrize("code", ReasonCode)
def test_every_code_has_a_sentence_in_both_languages(code: ReasonCode) -> None:
    english, korean = (reason(judged(code), language) for language in ("en", "ko"))
    assert english
    assert "{" not in english + korean
    assert not re.search("[가-힣]", english)
    assert re.search("[가-힣]", korean)
    if code not in QUOTED:
        # names of things and of metrics may stand in it, no English sentence
        assert not re.search(r"[a-z]+ [a-z]+ [a-z]+", korean), korean


@pytest.mark.parametrize("code", ReasonCode)
def test_a_korean_report_has_no_english_reason(code: ReasonCode) -> None:
    known = replace(judged(code), verdict=Verdict.DEGENERATE)
    page = markdown.page(run_record([known]), "ko")
    if code not in QUOTED:
        assert known.reason not in page.replace("&#62;", ">")
    told = reason(known, "ko").partition(" ")[0]
    assert told in page


def test_the_korean_reports_of_the_sample_runs_have_no_english_reason() -> None:
    for record in (mission_record(), epochs_record()):
        page = markdown.page(record, "ko").replace("&#62;", ">")
        assert not [each.reason for each in record.judgements if each.reason in page]


def test_a_record_of_an_earlier_version_keeps_its_sentence() -> None:
    old = replace(judged(ReasonCode.BEYOND_BAND), code=None, reason="as it was written")
    assert (reason(old, "ko"), aside(old)) == ("as it was written", "as it was written")


@pytest.mark.parametrize(
    ("code", "changed", "words"),
    [
        (ReasonCode.BEYOND_BAND_WEAK, {}, "not proven, about 12 more seeds may decide"),
        (
            ReasonCode.UNDECIDED,
            {"evidence": replace(EVIDENCE, n_enough=EVIDENCE.n + 1)},
            "not proven, about 1 more seed may decide",
        ),
        (
            ReasonCode.UNDECIDED,
            {"evidence": replace(EVIDENCE, low=0.3, p_adjusted=0.07)},
            "p = 0.070 > 0.05 over all items and looks; not proven, about 12 more",
        ),
        (ReasonCode.WITHIN_BAND, {"evidence": replace(EVIDENCE, weak=False, high=0.14)}, ""),
        (ReasonCode.BETTER, {"evidence": None}, "the band alone decides"),
        (ReasonCode.BETTER, {"evidence": None, "change": None}, "no interval"),
        (ReasonCode.LIMIT_KEPT, {"kind": "limit", "value": 460.0}, ""),
        (ReasonCode.ERROR, {"value": None}, "no such file"),
    ],
)
def test_what_a_table_does_not_show(code: ReasonCode, changed: dict[str, object], words: str) -> None:
    found = aside(replace(judged(code), **changed))  # type: ignore[arg-type]  # fields of a judgement
    assert words in found if words else not found
    assert "with a chance" not in found, "it says what would decide, not what the last look would fail"
    assert "->" not in found
    assert "interval of" not in found


@pytest.mark.parametrize("metric", METRICS)
def test_a_suspicious_rise_has_a_hint_whatever_the_metric(metric: str) -> None:
    assert "look at" in reason(judged(ReasonCode.SUSPICIOUS_RISE, metric))
    assert "motion fell by 30.0%" in reason(judged(ReasonCode.RISE_WITH_LESS_MOTION, metric))


@pytest.mark.parametrize("code", ReasonCode)
def test_a_record_keeps_the_code_its_details_and_the_command(code: ReasonCode) -> None:
    record = run_record([replace(judged(code), next_command="fetch it")])
    again = type(record).from_json(record.to_json())
    assert again.judgements == record.judgements
    assert reason(again.judgements[0], "ko") == reason(record.judgements[0], "ko")
