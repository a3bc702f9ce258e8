"""The words for how certain a comparison is, derived from its numbers in this one place for every view."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from pytest_wanlora.metrics import METRICS, Metric
from pytest_wanlora.phrases import Language, Phrase
from pytest_wanlora.verdict.judgement import Judgement, ReasonCode, Verdict

#: Videos of a scenario from which on a loss can be proven: `evidence.FEWEST_PAIRS`, without scipy.
FEWEST_VIDEOS: Final = 3
# below this a change is printed as 0.0 %
_ROUNDS_TO_NOTHING: Final = 0.0005


class Standing(StrEnum):
    """On which side of its fail band a change is, and how that is known."""

    SETTLED = "settled"
    WORSE = "worse"
    BESIDE = "beside"
    UNLIKELY = "unlikely"
    WEAK = "weak"
    BAND_ALONE = "band_alone"
    TOO_FEW = "too_few"
    SINGLE_VIDEOS = "single_videos"
    NONE = "none"

    @property
    def open(self) -> bool:
        """Whether more videos could still move the change to the other side of the band."""
        return self in (Standing.UNLIKELY, Standing.WEAK, Standing.BAND_ALONE, Standing.TOO_FEW)


STANDINGS: Final[Mapping[Standing, Phrase]] = MappingProxyType(
    {
        Standing.SETTLED: Phrase("settled", "충분"),
        Standing.WORSE: Phrase(
            "certainly worse, the interval reaches into the band", "악화는 확실, 신뢰구간이 허용 범위에 걸침"
        ),
        Standing.BESIDE: Phrase("fails beside a certain failure", "같은 시나리오의 확실한 실패와 함께 판정"),
        Standing.UNLIKELY: Phrase(
            "open, a chance of {chance:.0%} to fail with all seeds",
            "미확정, 모든 시드에서 실패할 확률 {chance:.0%}",
        ),
        Standing.WEAK: Phrase(
            "weak, about {n_enough:,} videos would be enough", "약함, 비디오 약 {n_enough:,}개 필요"
        ),
        Standing.BAND_ALONE: Phrase(
            "too few videos, the band alone decides", "비디오 부족, 허용 범위만으로 판정"
        ),
        Standing.TOO_FEW: Phrase("too few videos to prove a loss", "비디오가 적어 악화를 입증할 수 없음"),
        Standing.SINGLE_VIDEOS: Phrase("single videos decide", "개별 비디오로 판정"),
        Standing.NONE: Phrase("-", "-"),
    }
)
"""What each is called in tables."""

_HOPELESS: Final = Phrase("weak, more than 10,000 videos would be needed", "약함, 비디오 10,000개 초과 필요")

WAYS: Final[Mapping[str, Phrase]] = MappingProxyType(
    {
        "same": Phrase("no change", "변화 없음"),
        "infinite": Phrase("infinitely {way}", "무한대 {way}"),
        "worse": Phrase("worse", "악화"),
        "better": Phrase("better", "개선"),
        "higher": Phrase("higher", "상승"),
        "lower": Phrase("lower", "하락"),
        "range": Phrase("{low:.1%} to {high:.1%} {way}", "{low:.1%} ~ {high:.1%} {way}"),
        "across": Phrase("{low:.1%} {gain} to {high:.1%} worse", "{low:.1%} {gain} ~ {high:.1%} 악화"),
    }
)


def standing(judged: Judgement) -> Standing:
    """How certain a comparison is.

    `SETTLED` means that the whole interval lies on one side of the fail band and, beyond it, that the item
    fails; nothing else is called so.

    Args:
        judged: Any judgement; what is no comparison, or was not measured, has `NONE`.
    """
    evidence, fail = judged.evidence, judged.fail
    if judged.kind != "regression" or judged.verdict.unmeasured or judged.value is None or fail is None:
        return Standing.NONE
    if judged.verdict is Verdict.DEGENERATE:
        return Standing.SINGLE_VIDEOS
    if judged.code is ReasonCode.NO_TEST:
        return Standing.WEAK
    if evidence is None or not evidence.tested:
        unproven = judged.verdict is Verdict.UNDECIDED or judged.code is ReasonCode.TOO_FEW_PAIRS
        return Standing.TOO_FEW if unproven else Standing.BAND_ALONE
    inside = evidence.high is not None and evidence.high < fail
    outside = evidence.low is not None and evidence.low > fail
    if inside or (outside and evidence.significant):
        return Standing.SETTLED
    if evidence.seconded and judged.verdict.fails:
        return Standing.BESIDE
    if evidence.significant and judged.verdict.fails:
        return Standing.WORSE
    if not evidence.weak and evidence.chance_to_fail is not None and not judged.verdict.fails:
        return Standing.UNLIKELY
    return Standing.WEAK


def standing_words(judged: Judgement, language: Language) -> str:
    """`standing` in a few words, with the figure that belongs to it."""
    found, evidence = standing(judged), judged.evidence
    enough = None if evidence is None else evidence.n_enough
    if found is Standing.WEAK and enough is None:
        return _HOPELESS.say(language)
    chance = None if evidence is None else evidence.chance_to_fail
    return STANDINGS[found].say(language, n_enough=enough, chance=chance)


def direction(metric: Metric, change: float, verdict: Verdict) -> str:
    """Worse or better; a rise that is warned of is not called better, only higher or lower.

    Args:
        metric: Of what.
        change: Relative change to the worse, not 0.
        verdict: Of the change.
    """
    if change > 0.0:
        return "worse"
    if verdict is Verdict.WARN:
        return "higher" if metric.higher_is_better else "lower"
    return "better"


def change_words(change: float, metric: Metric | None, verdict: Verdict, language: Language = "en") -> str:
    """A change in words; one that is printed as 0.0 % has no direction.

    Args:
        change: Relative change to the worse; may be infinite.
        metric: None for a metric that is not known here.
        verdict: Of the change.
        language: `"en"` or `"ko"`.

    Example:
        >>> change_words(0.204, None, Verdict.FAIL)
        '20.4% worse'
    """
    if change == 0.0:
        return WAYS["same"].say(language)
    if abs(change) < _ROUNDS_TO_NOTHING:
        return f"{0.0:.1%}"
    way = WAYS[_way(change, metric, verdict)].say(language)
    if abs(change) == float("inf"):
        return WAYS["infinite"].say(language, way=way)
    return f"{abs(change):.1%} {way}"


def judged_change(judged: Judgement) -> str:
    """The change of a comparison in words, for a column of changes; a dash where there is none."""
    if judged.change is None:
        return "-"
    return change_words(judged.change, METRICS.get(judged.metric), judged.verdict)


def interval_words(judged: Judgement, language: Language = "en") -> str:
    """The interval of a change in the same words as the change itself; empty where there is none.

    That of a question is of a value, which its reason tells.

    Args:
        judged: The item's judgement.
        language: `"en"` or `"ko"`.

    Example:
        `53.0% to 103.0% higher` beside `76.3% higher`, `1.2% better to 3.4% worse` where it spans 0
    """
    evidence, metric = judged.evidence, METRICS.get(judged.metric)
    if evidence is None or evidence.low is None or evidence.high is None or judged.kind == "question":
        return ""
    low, high = evidence.low, evidence.high
    lost = judged.change is not None and judged.change > 0.0
    gain = WAYS["better" if lost else _way(-1.0, metric, judged.verdict)].say(language)
    if low < 0.0 < high:
        return WAYS["across"].say(language, low=-low, high=high, gain=gain)
    way = gain if high <= 0.0 and low < 0.0 else WAYS["worse"].say(language)
    ends = sorted((abs(low), abs(high)))
    if ends[1] < _ROUNDS_TO_NOTHING:
        return WAYS["same"].say(language)
    return WAYS["range"].say(language, low=ends[0], high=ends[1], way=way)


def _way(change: float, metric: Metric | None, verdict: Verdict) -> str:
    if metric is None:
        return "worse" if change > 0.0 else "better"
    return direction(metric, change, verdict)
