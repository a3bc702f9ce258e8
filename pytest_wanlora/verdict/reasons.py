"""The sentences that say why an item has its verdict: one phrase for each reason code, in every language."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from pytest_wanlora.metrics import CLIPSCORE_WEIGHT, METRICS, Metric
from pytest_wanlora.phrases import Language, Phrase
from pytest_wanlora.verdict.judgement import Detail, Judgement, ReasonCode
from pytest_wanlora.verdict.question_words import QUESTION_PARTS, QUESTION_REASONS, budget_words
from pytest_wanlora.verdict.standing import (
    FEWEST_VIDEOS,
    STANDINGS,
    Standing,
    change_words,
    interval_words,
    standing,
)

_APPLIED: Final = (
    "{patched} of {targets} targets patched ({mode}); {strength:.1%} of the change survives rounding, cosine "
    "{cosine:.3f}; the LoRA is {relative_size:.2%} of the weights; the video differs from the base model's",
    "대상 레이어 {targets}개 중 {patched}개에 적용({mode}). 반올림 후 변화량의 {strength:.1%} 유지, 코사인 "
    "{cosine:.3f}, 가중치 대비 LoRA 크기 {relative_size:.2%}. 베이스 모델과 다른 영상이 생성됩니다.",
)

REASONS: Final[Mapping[ReasonCode, Phrase]] = MappingProxyType(
    {
        ReasonCode.FILE_BROKEN: Phrase("{problems}", "체크포인트 파일 이상: {problems}"),
        ReasonCode.LORA_APPLIED: Phrase(*_APPLIED),
        ReasonCode.LORA_ROUNDED_AWAY: Phrase(
            f"{_APPLIED[0]}; unfused (sampling.lora_mode) would keep what fusing rounds away",
            "대상 레이어 {targets}개 중 {patched}개에 적용({mode}). 반올림 후 변화량의 {strength:.1%}만 "
            "유지, 코사인 {cosine:.3f}, 가중치 대비 LoRA 크기 {relative_size:.2%}. sampling.lora_mode 값을 "
            "unfused로 바꾸면 fuse 과정에서 사라지는 변화가 유지됩니다.",
        ),
        ReasonCode.LORA_WARNED: Phrase(
            f"{_APPLIED[0]}; in the file: {{problems}}", f"{_APPLIED[1]} 파일에서 확인할 점: {{problems}}"
        ),
        ReasonCode.LORA_NOT_APPLIED: Phrase(
            "{patched} of {targets} targets patched, {changed} of them changed a weight",
            "대상 레이어 {targets}개 중 {patched}개에만 적용되었고 가중치가 바뀐 레이어는 {changed}개입니다.",
        ),
        ReasonCode.LORA_WITHOUT_EFFECT: Phrase(
            "{patched} of {targets} targets patched, but {scenario}, seed {seed} is the base model's video, "
            "bit for bit",
            "대상 레이어 {targets}개 중 {patched}개에 적용했지만 {scenario}, 시드 {seed} 영상이 베이스 "
            "모델의 영상과 완전히 같습니다.",
        ),
        ReasonCode.LORA_WITHIN_REPEATABILITY: Phrase(
            "{patched} of {targets} targets patched, but {scenario}, seed {seed} differs from the base "
            "model's video by no more than the same video rendered again may: the LoRA does nothing",
            "대상 레이어 {targets}개 중 {patched}개에 적용했지만 {scenario}, 시드 {seed} 영상과 베이스 모델 "
            "영상의 차이가 같은 영상을 다시 생성할 때의 오차 이내입니다. LoRA의 효과가 없습니다.",
        ),
        ReasonCode.LORA_HALF_WITHOUT_EFFECT: Phrase(
            "the {expert}-noise LoRA does nothing: {scenario}, seed {seed} rendered without it differs from "
            "the pair's video by no more than the same video rendered again may",
            "{expert}-noise LoRA의 효과가 없습니다. 이 LoRA 없이 생성한 {scenario}, 시드 {seed} 영상과 "
            "두 LoRA를 모두 적용한 영상의 차이가 같은 영상을 다시 생성할 때의 오차 이내입니다.",
        ),
        ReasonCode.LORA_NOT_KNOWN_APPLIED: Phrase(
            "it is not known whether the LoRA was applied", "LoRA가 적용되었는지 알 수 없습니다."
        ),
        ReasonCode.NOT_RENDERED: Phrase(
            "not measured, nothing was rendered: {message}",
            "측정하지 못했습니다. 영상을 생성하지 않았습니다. 원문: {message}",
        ),
        ReasonCode.NOT_RENDERED_SEVERAL: Phrase(
            "not measured, nothing was rendered: {message} (and {more} more)",
            "측정하지 못했습니다. 영상을 생성하지 않았습니다. 원문: {message} (외 {more}건)",
        ),
        ReasonCode.NO_BASELINE: Phrase("{message}", "비교할 기준이 없습니다. 원문: {message}"),
        ReasonCode.INCOMPARABLE: Phrase("{message}", "저장된 기준과 비교할 수 없습니다. 원문: {message}"),
        ReasonCode.ERROR: Phrase("{message}", "오류로 측정하지 못했습니다. 원문: {message}"),
        ReasonCode.DEGENERATE: Phrase("{videos}", "채점할 수 없는 영상: {videos}"),
        ReasonCode.NO_VIDEO: Phrase("no video of {places} was measured", "측정한 영상이 없습니다({places})."),
        ReasonCode.NOT_MEASURED: Phrase(
            "{metric} of the candidate was not measured", "LoRA의 {metric} 값을 측정하지 못했습니다."
        ),
        ReasonCode.NOT_FINITE: Phrase(
            "{metric} of the candidate is not finite: {videos}",
            "LoRA의 {metric} 값이 유한하지 않습니다: {videos}",
        ),
        ReasonCode.BASELINE_NOT_FINITE: Phrase(
            "{metric} of the baseline is not finite: {videos}",
            "기준의 {metric} 값이 유한하지 않습니다: {videos}",
        ),
        ReasonCode.BASELINE_LACKS_VIDEOS: Phrase(
            "the baseline has no {metric} of {videos}", "기준에 {metric} 값이 없습니다: {videos}"
        ),
        ReasonCode.BASELINE_LACKS_METRIC: Phrase(
            "the baseline has no {metric} here", "기준에 {metric} 값이 없습니다."
        ),
        ReasonCode.UNEQUAL_SETS: Phrase(
            "{metric} of {n} and of {baseline_n} videos; allowed: equal numbers",
            "{metric} 계산에 쓴 비디오 수가 서로 다릅니다(LoRA {n}개, 기준 {baseline_n}개).",
        ),
        ReasonCode.CHANGE_UNDEFINED: Phrase(
            "{baseline} -> {value}: no relative change can be computed",
            "{baseline} → {value}: 변화율을 계산할 수 없습니다.",
        ),
        ReasonCode.VIDEOS_SOUND: Phrase(
            "none of {n} videos is far outside the baseline's own seeds",
            "비디오 {n}개 중 기준의 시드 범위를 크게 벗어난 것이 없습니다.",
        ),
        ReasonCode.VIDEOS_BROKEN: Phrase(
            "broken, far outside the baseline's own seeds, {count} of {n} videos: {broken}",
            "비디오 {n}개 중 {count}개가 기준의 시드 범위를 크게 벗어났습니다: {broken}",
        ),
        ReasonCode.LIMIT_KEPT: Phrase(
            "{value} ({count}), limit: {bounds}", "{value}({count}), 기준 {bounds}"
        ),
        ReasonCode.LIMIT_BROKEN: Phrase(
            "{value} ({count}), limit: {bounds}", "{value}({count}), 기준 {bounds} 위반"
        ),
        **QUESTION_REASONS,
    }
)
"""Whole sentences; `{message}` is the text of an error, which exists in English only."""

REMARKS: Final[Mapping[ReasonCode, Phrase | None]] = MappingProxyType(
    {
        ReasonCode.WITHIN_BAND: None,
        ReasonCode.WITHIN_WARN_BAND: None,
        ReasonCode.BEYOND_BAND: None,
        ReasonCode.BEYOND_BAND_WEAK: None,
        ReasonCode.BETTER: None,
        ReasonCode.UNDECIDED: None,
        ReasonCode.TOO_FEW_PAIRS: Phrase(
            "not proven: that takes {fewest} or more videos of a scenario",
            "입증되지 않음: 시나리오당 비디오가 {fewest}개 이상 필요합니다",
        ),
        ReasonCode.NO_TEST: Phrase("not proven: no test of it is known", "입증되지 않음: 검정 방법 없음"),
        ReasonCode.FAILED_WITH_SIBLING: Phrase(
            "another item of the scenario has failed for certain, so no more were rendered",
            "같은 시나리오의 다른 항목이 이미 확실히 실패하여 비디오를 더 생성하지 않았습니다",
        ),
        ReasonCode.WEAK_EVIDENCE_FAILS: Phrase(
            "the suite fails weak evidence", "이 스위트는 근거가 약해도 실패로 판정합니다"
        ),
        ReasonCode.BETTER_UNCERTAIN: Phrase("the improvement is not certain", "개선이 확실하지 않습니다"),
        ReasonCode.BASELINE_ZERO: Phrase(
            "from a baseline of 0 no relative change can be computed",
            "기준 값이 0이라 변화율을 계산할 수 없습니다",
        ),
        ReasonCode.SUSPICIOUS_RISE: Phrase("{hint}", "{hint}"),
        ReasonCode.RISE_WITH_LESS_MOTION: Phrase(
            "motion fell by {motion_loss:.1%} at the same time; {hint}",
            "동시에 Motion 값이 {motion_loss:.1%} 줄었습니다. {hint}",
        ),
        ReasonCode.FROZEN: Phrase(
            "the video stands still in {videos} while the baseline's moves",
            "기준 영상은 움직이지만 다음 영상은 멈춰 있습니다: {videos}",
        ),
    }
)
"""What follows the numbers of a comparison; None where they say everything."""
_UNPROVEN: Final = (ReasonCode.TOO_FEW_PAIRS, ReasonCode.NO_TEST)

OTHER_HINT: Final = Phrase(
    "so large a rise is suspicious: look at the video", "상승폭이 지나치게 크므로 영상을 확인하세요"
)
"""For a metric without a hint of its own."""

PARTS: Final[Mapping[str, Phrase]] = MappingProxyType(
    {
        **QUESTION_PARTS,
        "compared": Phrase("{baseline} -> {value}, {change}", "{baseline} → {value}, {change}"),
        "compared_sets": Phrase(
            "{baseline} -> {value} at n = {n} (reference {reference_n}), {change}",
            "{baseline} → {value}(n = {n}, 레퍼런스 {reference_n}), {change}",
        ),
        "compared_floors": Phrase(
            "{baseline} -> {value} at n = {n} (reference {reference_n}); "
            "above the floor {before} -> {after}, {change}",
            "{baseline} → {value}(n = {n}, 레퍼런스 {reference_n}), "
            "바닥값을 뺀 값 {before} → {after}, {change}",
        ),
        "of_half": Phrase(
            "these figures are of the {half}-noise LoRA, the weaker or less exactly applied one",
            "위 수치는 두 LoRA 중 더 약하거나 덜 정확하게 적용된 {half}-noise LoRA의 값입니다",
        ),
        "above_floor": Phrase(
            "{raw} as it is, of which {floor} is the floor of {n} videos",
            "원래 값 {raw}, 그중 비디오 {n}개의 바닥값 {floor}",
        ),
        "limit_interval": Phrase("90% interval {low} to {high}", "90% 신뢰구간 {low} ~ {high}"),
        "cosine": Phrase(" (cosine {cosine:.2g})", "(코사인 유사도 {cosine:.2g})"),
        "band": Phrase(
            "{size} (band: warn from {warn:.2%}, fail beyond {fail:.2%})",
            "{size}(허용 범위: 주의 {warn:.2%} 이상, 실패 {fail:.2%} 초과)",
        ),
        "one_seed": Phrase("one seed: the band alone decides", "시드 1개: 허용 범위만으로 판정"),
        "band_alone": Phrase("the band alone decides", "허용 범위만으로 판정"),
        "no_interval": Phrase(
            "n = {n}, no interval: the baseline cannot be told from 0",
            "n = {n}, 기준 값을 0과 구별할 수 없어 신뢰구간 없음",
        ),
        "interval": Phrase(
            "{level:.0%} interval {bounds}, n = {n}", "{level:.0%} 신뢰구간 {bounds}, n = {n}"
        ),
        "untested": Phrase(
            "too few seeds for a test: the band alone decides", "시드가 적어 검정 없이 허용 범위만으로 판정"
        ),
        "weak_one": Phrase(
            "not proven, about 1 more seed may decide", "입증되지 않음, 시드가 약 1개 더 있으면 판정 가능"
        ),
        "weak": Phrase(
            "not proven, about {more} more seeds may decide",
            "입증되지 않음, 시드가 약 {more}개 더 있으면 판정 가능",
        ),
        "weak_beyond": Phrase(
            "not proven, even 10,000 seeds would not decide", "입증되지 않음, 10,000개로도 판정 불가"
        ),
        "by_test": Phrase("p = {p:.3f} > 0.05 over all items and looks", "전체 항목 p값 {p:.3f} > 0.05"),
        "shown": Phrase("shown to be no loss beyond its band", "허용 범위를 넘는 악화가 아님이 입증됨"),
        "not_shown": Phrase("not shown to be within its band", "허용 범위 안임이 입증되지는 않음"),
        "chance": Phrase(
            "with all seeds of the suite it would fail with a chance of {chance:.0%}",
            "모든 시드를 쓰면 실패할 확률 {chance:.0%}",
        ),
        "count": Phrase("n = {n}", "n = {n}"),
        "count_sets": Phrase("n = {n}, reference {reference_n}", "n = {n}, 레퍼런스 {reference_n}"),
        "video": Phrase("{scenario} seed {seed}", "{scenario} 시드 {seed}"),
        "more": Phrase(" and {more} more", " 외 {more}개"),
        "nan": Phrase("NaN weights: {count}", "NaN 가중치가 있는 레이어 {count}개"),
        "inf": Phrase("infinite weights: {count}", "무한대 가중치가 있는 레이어 {count}개"),
        "zero_b": Phrase(
            "targets that change nothing, all: {count}", "변화가 없는 레이어 {count}개(전체, 학습되지 않음)"
        ),
        "zero_some": Phrase("targets that change nothing: {count}", "변화가 없는 레이어 {count}개"),
        "alpha_some": Phrase("targets without alpha: {count}", "alpha 값이 없는 레이어 {count}개"),
        "alpha_header": Phrase(
            "targets without the header's alpha: {count}", "헤더의 alpha 값이 텐서에 없는 레이어 {count}개"
        ),
    }
)


def reason(judged: Judgement, language: Language = "en") -> str:
    """Why an item has its verdict, with numbers.

    Args:
        judged: The item's judgement. One without a code is of a record of an earlier version, which has the
            sentence in English only.
        language: `"en"` or `"ko"`.
    """
    if judged.code is None:
        return judged.reason
    if judged.code in REASONS:
        said = REASONS[judged.code].say(language, **_fields(judged, language))
        return "; ".join([said, *_above_floor(judged, language), *_of_half(judged, language)])
    return "; ".join(
        [_comparison(judged, language), *_evidence(judged, language), *_remark(judged, language)]
    )


def aside(judged: Judgement, language: Language = "en") -> str:
    """What a reason adds to the value, change and interval, which a table shows in columns.

    Args:
        judged: See `reason`.
        language: `"en"` or `"ko"`.
    """
    if judged.kind == "limit" and judged.value is not None:
        return ""
    if judged.code not in REMARKS:
        return reason(judged, language)
    evidence = [*_evidence(judged, language)]
    shown = bool(interval_words(judged, language)) or judged.code in _UNPROVEN
    return "; ".join([*(evidence[1:] if shown else evidence), *_remark(judged, language)])


def _above_floor(judged: Judgement, language: Language) -> Iterator[str]:
    """Of a Fréchet distance that is limited: the distance itself, its floor, and the interval."""
    told, metric = judged.details, METRICS.get(judged.metric)
    numbers = {name: _number(metric, value) for name, value in told.items() if isinstance(value, float)}
    if judged.kind == "limit" and "floor" in numbers:
        yield PARTS["above_floor"].say(language, n=judged.n, **numbers)
        if "low" in numbers:
            yield PARTS["limit_interval"].say(language, **numbers)


def _of_half(judged: Judgement, language: Language) -> Iterator[str]:
    """Of a pair: which of its LoRAs the figures are of."""
    if half := judged.details.get("half"):
        yield PARTS["of_half"].say(language, half=half)


def _fields(judged: Judgement, language: Language) -> dict[str, object]:
    metric = METRICS.get(judged.metric)
    signs = ((">=", judged.minimum), ("<=", judged.maximum))
    count = "count" if judged.reference_n is None else "count_sets"
    fields: dict[str, object] = {
        "metric": judged.metric if metric is None else metric.name(language),
        "value": _number(metric, judged.value),
        "baseline": _number(metric, judged.baseline),
        "n": judged.n,
        "fewest": FEWEST_VIDEOS,
        "budget": budget_words(judged, language),
        "count": PARTS[count].say(language, n=judged.n, reference_n=judged.reference_n),
        "bounds": ", ".join(
            f"{sign} {bound:g}{_cosine(judged.metric, bound, language)}"
            for sign, bound in signs
            if bound is not None
        ),
        "hint": (metric and metric.look_at(language)) or OTHER_HINT.say(language),
    }
    fields |= {name: _detail(name, value, language) for name, value in judged.details.items()}
    return fields | ({"measured": _measured(judged, fields, language)} if judged.kind == "question" else {})


def _measured(judged: Judgement, fields: Mapping[str, object], language: Language) -> str:
    evidence, metric = judged.evidence, METRICS.get(judged.metric)
    if evidence is None or judged.metric not in QUESTION_PARTS:
        return ""
    interval, ends = PARTS["no_interval"].say(language, n=judged.n), (evidence.low, evidence.high)
    if None not in ends:
        bounds = (" ~ " if language == "ko" else " to ").join(_number(metric, end) for end in ends)
        interval = PARTS["interval"].say(language, level=evidence.level, bounds=bounds, n=judged.n)
    demand = PARTS["demanded" if judged.fail else "not_demanded"].say(language, fail=judged.fail or 0.0)
    told = {**fields, "warn": judged.warn, "fail": judged.fail, "demand": demand, "interval": interval}
    return PARTS[judged.metric].say(language, **told)


def _cosine(metric: str, bound: float, language: Language) -> str:
    """What a bound on CLIPScore means: the score is the cosine of caption and frame, times 2.5."""
    return PARTS["cosine"].say(language, cosine=bound / CLIPSCORE_WEIGHT) if metric == "clip" else ""


def _detail(name: str, value: Detail, language: Language) -> object:
    """A detail as its phrase shows it: videos and problems of a file as lists of words."""
    if not isinstance(value, tuple):
        return value
    listed = [_listed(name, *each, language) if isinstance(each, tuple) else str(each) for each in value]
    most = 3 if name in ("videos", "broken", "copied") else len(listed)
    more = PARTS["more"].say(language, more=len(listed) - most) if len(listed) > most else ""
    separator = "; " if name in ("problems", "broken") else ", "
    return separator.join(listed[:most]) + more


def _listed(name: str, what: str, number: int, why: str, language: Language) -> str:
    if name == "problems":
        return why if language == "en" or what not in PARTS else PARTS[what].say(language, count=number)
    video = PARTS["video"].say(language, scenario=what, seed=number)
    # why a video cannot be scored is known in English only; numbers read the same
    told = language == "en" or " " not in why or name in ("broken", "copied")
    return f"{video}: {why}" if why and told else video


def _number(metric: Metric | None, value: float | None) -> str:
    return "-" if metric is None or value is None else metric.format(value)


def _comparison(judged: Judgement, language: Language) -> str:
    evidence, metric = judged.evidence, METRICS.get(judged.metric)
    fields = {**_fields(judged, language), "reference_n": judged.reference_n}
    key = "compared" if judged.reference_n is None else "compared_sets"
    if evidence is not None and None not in (evidence.baseline_floor, evidence.value_floor):
        key = "compared_floors"
        before, after = judged.changed
        fields["before"], fields["after"] = _number(metric, before), _number(metric, after)
    return PARTS[key].say(language, **fields, change=_change(judged, language))


def _change(judged: Judgement, language: Language) -> str:
    metric, change = METRICS.get(judged.metric), judged.change
    if change is None:
        # from a baseline of 0 every change is infinite
        higher = metric is None or metric.higher_is_better
        loss = ((judged.value or 0.0) < (judged.baseline or 0.0)) is higher
        change = math.inf if loss else -math.inf
    size = change_words(change, metric, judged.verdict, language)
    return PARTS["band"].say(language, size=size, warn=judged.warn or 0.0, fail=judged.fail or 0.0)


def _evidence(judged: Judgement, language: Language) -> Iterator[str]:
    """How certain a change is: the interval first, then what more seeds would show."""
    evidence = judged.evidence
    if evidence is None and judged.code in _UNPROVEN:
        yield PARTS["count"].say(language, n=judged.n)
    elif evidence is None and judged.change is not None:
        yield PARTS["one_seed" if judged.n == 1 else "band_alone"].say(language)
    elif evidence is None or evidence.low is None or evidence.high is None:
        yield PARTS["no_interval"].say(language, n=judged.n if evidence is None else evidence.n)
    else:
        bounds = interval_words(judged, language)
        yield PARTS["interval"].say(language, level=evidence.level, bounds=bounds, n=evidence.n)
        beyond = judged.change is not None and judged.change > (judged.fail or 0.0)
        known = standing(judged)
        if judged.shown is not None and not beyond:
            yield PARTS["shown" if judged.shown else "not_shown"].say(language)
        elif known is Standing.BAND_ALONE:
            yield PARTS["untested"].say(language)
        elif known is Standing.WORSE:
            yield STANDINGS[known].say(language)
        elif known is Standing.WEAK:
            more = evidence.n_missing
            if evidence.low > (judged.fail or 0.0) and evidence.p_adjusted is not None:
                yield PARTS["by_test"].say(language, p=evidence.p_adjusted)
            key = "weak_beyond" if more is None else "weak_one" if more == 1 else "weak"
            yield PARTS[key].say(language, more=more)
        # beyond the band, what would decide is said, not what the suite's last look would fail
        likely = known is Standing.UNLIKELY or (known is Standing.WEAK and not beyond)
        if likely and evidence.chance_to_fail is not None:
            yield PARTS["chance"].say(language, chance=evidence.chance_to_fail)


def _remark(judged: Judgement, language: Language) -> Iterator[str]:
    phrase = None if judged.code is None else REMARKS[judged.code]
    if phrase is not None:
        yield phrase.say(language, **_fields(judged, language))
