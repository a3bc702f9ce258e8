"""The words of the reports in English and Korean: every phrase once, both languages side by side.

Phrases are plain text: no Markdown, no HTML. Whoever shows them quotes what is put into them. The phrases of
pages are in `words_page`, those of `next_steps` in `words_steps`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.phrases import Language, Phrase
from pytest_wanlora.reports.summary import OutcomeKind
from pytest_wanlora.reports.trend import BestReason, Direction
from pytest_wanlora.verdict.decision import RunOutcome
from pytest_wanlora.verdict.judgement import PytestOutcome, Verdict
from pytest_wanlora.verdict.standing import change_words

if TYPE_CHECKING:
    from pytest_wanlora.verdict.race import Objective

#: In the place of a value that is not there.
NOTHING: Final = "\N{EN DASH}"

MARKS: Final[Mapping[Verdict, str]] = MappingProxyType(
    {
        Verdict.BETTER: "🎉",
        Verdict.PASS: "✅",
        Verdict.WARN: "⚠️",
        Verdict.UNDECIDED: "⚖️",
        Verdict.FAIL: "❌",
        Verdict.MISSING_BASELINE: "❓",
        Verdict.INCOMPARABLE: "⛔",
        Verdict.DEGENERATE: "💥",
        Verdict.ERROR: "🛑",
    }
)
"""A sign for each verdict; the first four are those of the report that this page grew from."""

VERDICTS: Final[Mapping[Verdict, Phrase]] = MappingProxyType(
    {
        Verdict.BETTER: Phrase("better", "개선"),
        Verdict.PASS: Phrase("pass", "통과"),
        Verdict.WARN: Phrase("warn", "주의"),
        Verdict.UNDECIDED: Phrase("undecided", "판정 보류"),
        Verdict.FAIL: Phrase("fail", "실패"),
        Verdict.MISSING_BASELINE: Phrase("no baseline", "기준 없음"),
        Verdict.INCOMPARABLE: Phrase("incomparable", "비교 불가"),
        Verdict.DEGENERATE: Phrase("degenerate", "비정상 영상"),
        Verdict.ERROR: Phrase("error", "오류"),
    }
)

TESTS: Final[Mapping[PytestOutcome, Phrase]] = MappingProxyType(
    {
        PytestOutcome.PASSED: Phrase("passed", "통과"),
        PytestOutcome.FAILED: Phrase("failed", "실패"),
        PytestOutcome.ERROR: Phrase("error", "오류"),
        PytestOutcome.SKIPPED: Phrase("skipped", "건너뜀"),
        PytestOutcome.XFAILED: Phrase("expected to fail (xfail)", "예상된 실패(xfail)"),
        PytestOutcome.NOT_JUDGED: Phrase(
            "reported as passed, but nothing was judged: a plugin or a conftest.py ran something else",
            "통과로 보고되었으나 판정하지 않음(플러그인 또는 conftest.py가 다른 코드를 실행)",
        ),
        PytestOutcome.DESELECTED: Phrase("deselected", "선택에서 제외됨"),
        PytestOutcome.REMOVED: Phrase(
            "removed after collection by a plugin or a conftest.py",
            "수집 후 플러그인 또는 conftest.py가 제거함",
        ),
        PytestOutcome.NOT_NAMED: Phrase(
            "not among the test ids on the command line", "명령줄에 지정한 테스트 id에 없음"
        ),
        PytestOutcome.NOT_COLLECTED: Phrase(
            "not collected: a path that does not exist, a plugin or a conftest.py prevented it",
            "수집되지 않음(없는 경로, 플러그인 또는 conftest.py)",
        ),
        PytestOutcome.STOPPED: Phrase("not run: the run was stopped", "실행 전 중단됨"),
        PytestOutcome.LOST: Phrase("lost with its worker", "작업 프로세스와 함께 유실됨"),
        PytestOutcome.NOT_RUN: Phrase(
            "not run: no report arrived, a plugin or a conftest.py may have prevented it",
            "실행 결과 없음(플러그인 또는 conftest.py가 막았을 수 있음)",
        ),
    }
)
"""What became of a pytest item; a detail may follow."""

OUTCOMES: Final[Mapping[OutcomeKind, Phrase]] = MappingProxyType(
    {
        "success": Phrase("success", "성공 사례"),
        "slight_loss": Phrase("slight loss", "소폭 악화"),
        "undecided": Phrase("undecided", "판정 보류"),
        "failure": Phrase("failure", "실패 사례"),
        "unmeasured": Phrase("not measured", "측정 안 됨"),
    }
)

STORING: Final[Mapping[str, Phrase]] = MappingProxyType(
    {
        "stored": Phrase(
            "{name} was stored as the baseline {baseline}, which decides nothing about publishing.",
            "{name}: 기준 {baseline}에 저장했습니다. 배포 여부는 판정하지 않은 실행입니다.",
        ),
        "refused": Phrase(
            "{name} was refused as the baseline {baseline}; nothing was stored.",
            "{name}: 기준 {baseline}에 저장하지 않고 거부했습니다. 저장된 내용이 없습니다.",
        ),
        "not_measured": Phrase(
            "{name} was not measured, so it was not stored as the baseline {baseline}.",
            "{name}: 측정하지 못해 기준 {baseline}에 저장하지 않았습니다.",
        ),
    }
)
"""What came of a run that was to store a baseline."""

RUN_OUTCOMES: Final[Mapping[RunOutcome, Phrase]] = MappingProxyType(
    {
        RunOutcome.FAILED: Phrase("failed", "실패"),
        RunOutcome.NOT_MEASURED: Phrase("not measured: {causes}", "측정 안 됨: {causes}"),
        RunOutcome.UNDECIDED: Phrase("undecided", "판정 보류"),
        RunOutcome.PARTIAL: Phrase("partial", "부분 실행"),
        RunOutcome.PASSED: Phrase("passed", "통과"),
    }
)
"""How a run ended; `{causes}` is `ONE_CAUSE` or `SEVERAL_CAUSES`."""

ONE_CAUSE: Final = Phrase("1 cause", "원인 1건")
SEVERAL_CAUSES: Final = Phrase("{count} causes", "원인 {count}건")

DIRECTIONS: Final[Mapping[Direction, Phrase]] = MappingProxyType(
    {
        "improving": Phrase("improving", "개선"),
        "worsening": Phrase("worsening", "악화"),
        "steady": Phrase("no clear change", "뚜렷한 변화 없음"),
        "mixed": Phrase("up and down", "등락"),
        "unknown": Phrase("unknown", "판단 불가"),
    }
)

ADVICE: Final = Phrase("Publish {best}.", "배포 추천: {best}.")
"""Which checkpoint to publish; why is `BEST`'s to say."""

ADVICE_ALONE: Final = Phrase(
    "Gate {best} alone, then publish it.", "{best}: 이 체크포인트만 다시 검사한 뒤 배포하세요."
)
"""The same of a run whose receipts `verify` refuses."""

WHY_ALONE: Final = Phrase(
    "This run as a whole failed (exit code {exit_status}), so its receipts do not count for publishing.",
    "pytest 실행이 종료 코드 {exit_status}번으로 끝나 verify가 이 실행의 receipt를 거부합니다.",
)

HINTS: Final[Mapping[str, Phrase]] = MappingProxyType(
    {
        "one_expert": Phrase(
            "only the {has}-noise expert has a LoRA; the {other}-noise one is the base model's",
            "{has}-noise 전문가에만 LoRA가 있고 {other}-noise 전문가는 베이스 모델 그대로입니다.",
        ),
        "same_for_both": Phrase("both experts have the same LoRA", "두 전문가에 같은 LoRA를 적용했습니다."),
    }
)
"""Of a pair, by their code; all other hints on a file exist in English only."""

BENEATH: Final = Phrase("{file} at strength {scale:g}", "{file}(강도 {scale:g})")
BENEATH_EXPERT: Final = Phrase(
    "{file} in the {expert}-noise expert at strength {scale:g}",
    "{expert}-noise 전문가의 {file}(강도 {scale:g})",
)
"""LoRAs of a suite's stack."""

STRENGTH: Final = Phrase("{name} at strength {strength}", "{name}(강도 {strength})")
"""A checkpoint that was gated at another strength than 1, which its name does not say."""

BEST: Final[Mapping[BestReason, Phrase]] = MappingProxyType(
    {
        "only": Phrase(
            "It is the only one of {candidates} checkpoints that may be published.",
            "체크포인트 {candidates}개 중 배포할 수 있는 것은 이것뿐입니다.",
        ),
        "least_loss": Phrase(
            "Of the {publishable} that may be published {best} did best over {comparisons} comparisons with "
            "the baseline. Next is {next}; whether the two differ was not tested. {objective}",
            "배포할 수 있는 체크포인트 {publishable}개 중 {best}의 결과가 가장 좋습니다(기준과의 비교 "
            "{comparisons}건). "
            "다음 순위는 {next}이며, 둘 사이의 차이는 통계적으로 검정하지 않았습니다. {objective}",
        ),
        "tie": Phrase(
            "Over {comparisons} comparisons with the baseline {next} is as good, and {best} comes first. "
            "{objective}",
            "기준과의 비교 {comparisons}건에서 {next} 체크포인트도 똑같이 좋으나 {best} 쪽이 먼저 나온 "
            "체크포인트입니다. {objective}",
        ),
        "none": Phrase(
            "None of {candidates} checkpoints may be published. Nearest to it: {nearest}; checks that fail: "
            "{failing}.",
            "체크포인트 {candidates}개 모두 배포할 수 없습니다. 가장 근접한 것은 {nearest}(실패 항목 "
            "{failing}개)입니다.",
        ),
        "none_measured": Phrase(
            "None of {candidates} checkpoints may be published: not everything was measured. Nearest to it: "
            "{nearest}; checks that fail: {failing}.",
            "측정하지 못한 항목이 있어 체크포인트 {candidates}개 모두 배포할 수 없습니다. 가장 근접한 것은 "
            "{nearest}(실패 항목 {failing}개)입니다.",
        ),
        "run_failed": Phrase(
            "None of {candidates} checkpoints may be published: the pytest run ended with exit code "
            "{exit_status}.",
            "pytest 실행이 종료 코드 {exit_status}번으로 끝나 체크포인트 {candidates}개 모두 배포할 수 "
            "없습니다.",
        ),
        "race_stopped": Phrase(
            "The race stopped before its end, and no checkpoint was gated: nothing may be published.",
            "후보 비교 경주가 도중에 중단되어 검사한 체크포인트가 없습니다. 배포할 수 있는 것이 없습니다.",
        ),
        "no_candidate": Phrase(
            "The run gated no checkpoint: it measured the model without LoRA.",
            "체크포인트를 평가하지 않고 LoRA 없는 베이스 모델만 측정한 실행입니다.",
        ),
    }
)


BEST_ALONE: Final[Mapping[BestReason, Phrase]] = MappingProxyType(
    {
        "only": Phrase(
            "It is the only checkpoint, and it may be published.",
            "체크포인트가 이것 하나이며 배포할 수 있습니다.",
        ),
        "none": Phrase(
            "The only checkpoint, {nearest}, may not be published; checks that fail: {failing}.",
            "하나뿐인 체크포인트를 배포할 수 없습니다: {nearest}(실패 항목 {failing}개).",
        ),
        "none_measured": Phrase(
            "The only checkpoint, {nearest}, may not be published: not everything was measured; checks that "
            "fail: {failing}.",
            "측정하지 못한 항목이 있어 하나뿐인 체크포인트를 배포할 수 없습니다: {nearest}(실패 항목 "
            "{failing}개).",
        ),
        "run_failed": Phrase(
            "The only checkpoint may not be published: the pytest run ended with exit code {exit_status}.",
            "pytest 실행이 종료 코드 {exit_status}번으로 끝나 하나뿐인 체크포인트를 배포할 수 없습니다.",
        ),
    }
)
"""The same where there is one checkpoint, as at the beginning of a watch."""


OBJECTIVES: Final[Mapping[Objective, Phrase]] = MappingProxyType(
    {
        "mean": Phrase(
            "Best is the smallest mean loss. The loss of a metric is how much worse it got, divided by the "
            "largest loss that is allowed.",
            "평균 손실이 작을수록 좋습니다. 평균 손실은 모든 지표와 시나리오에서 악화율을 실패 허용폭으로 "
            "나눈 값의 평균입니다.",
        ),
        "worst": Phrase(
            "Best is the smallest worst loss. The loss of a metric is how much worse it got, divided by the "
            "largest loss that is allowed.",
            "최대 손실이 작을수록 좋습니다. 최대 손실은 모든 지표와 시나리오에서 악화율을 실패 허용폭으로 "
            "나눈 값 중 가장 큰 것입니다.",
        ),
    }
)
"""What better means, in one sentence."""


def metric_name(metric: str, language: Language) -> str:
    """A metric's name; one that is unknown is an input, and gives an empty text."""
    return METRICS[metric].name(language) if metric in METRICS else ""


def metric_names(metrics: tuple[str, ...], language: Language) -> str:
    """Several metrics' names in one line."""
    names = [name for name in (metric_name(metric, language) for metric in metrics) if name]
    if language == "en" and len(names) > 1:
        return f"{', '.join(names[:-1])} and {names[-1]}"
    return ", ".join(names)


def title_of(metric: str, language: Language = "en") -> str:
    """A metric's name for people."""
    return metric_name(metric, language) or metric


def value_of(metric: str, value: float | None) -> str:
    """A metric's value as printed; a dash where there is none."""
    if value is None:
        return NOTHING
    return METRICS[metric].format(value) if metric in METRICS else f"{value:.4g}"


def change_of(metric: str, change: float | None, verdict: Verdict | None, language: Language = "en") -> str:
    """A change in words; nothing that warns is called better, only higher or lower.

    Example:
        >>> change_of("sharpness", -0.897, Verdict.WARN)
        '89.7% higher'
    """
    if change is None:
        return ""
    return change_words(change, METRICS.get(metric), Verdict.PASS if verdict is None else verdict, language)
