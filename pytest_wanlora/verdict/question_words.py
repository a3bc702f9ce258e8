"""What is said of the questions about a LoRA, in every language."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pytest_wanlora.phrases import Language, Phrase
from pytest_wanlora.verdict.judgement import Judgement, ReasonCode

QUESTION_REASONS: Final[Mapping[ReasonCode, Phrase]] = MappingProxyType(
    {
        ReasonCode.TOO_FEW_TO_ASK: Phrase(
            "not known: that takes {fewest} or more videos of a scenario, here: {n}",
            "알 수 없음: 시나리오당 비디오가 {fewest}개 이상 필요합니다(현재 {n}개).",
        ),
        ReasonCode.TOO_FEW_CLIPS: Phrase(
            "not known: clips in the training data: {clips}; 3 or more are needed to know how far "
            "they are from each other",
            "알 수 없음: 학습 영상이 {clips}개뿐이며 3개 이상 필요합니다.",
        ),
        ReasonCode.NO_SPREAD: Phrase(
            "not known: the baseline's videos are the same for every seed, so there is no unit",
            "알 수 없음: 기준 영상이 모든 시드에서 같아 비교할 단위가 없습니다.",
        ),
        ReasonCode.KEEPS_THE_REST: Phrase(
            "{measured}: the LoRA leaves these videos alone",
            "{measured}. LoRA가 이 영상들을 그대로 둡니다.",
        ),
        ReasonCode.BLEEDS_SLIGHTLY: Phrase(
            "{measured}: the LoRA changes videos a little that it should leave alone",
            "{measured}. LoRA가 바꾸지 말아야 할 영상을 조금 바꿉니다.",
        ),
        ReasonCode.BLEEDS: Phrase(
            "{measured}: the LoRA changes videos that it should leave alone",
            "{measured}. LoRA가 바꾸지 말아야 할 영상까지 바꿉니다.",
        ),
        ReasonCode.BLEED_UNPROVEN: Phrase(
            "{measured}: the LoRA seems to change videos that it should leave alone, which is not "
            "proven{budget}",
            "{measured}. LoRA가 바꾸지 말아야 할 영상까지 바꾸는 것으로 보이지만 입증되지 "
            "않았습니다.{budget}",
        ),
        ReasonCode.LEARNED: Phrase(
            "{measured}: the LoRA shows its subject", "{measured}. LoRA가 피사체를 학습했습니다."
        ),
        ReasonCode.LEARNED_NOT: Phrase(
            "{measured}: the LoRA did not learn its subject",
            "{measured}. LoRA가 피사체를 학습하지 못했습니다.",
        ),
        ReasonCode.LEARNED_UNPROVEN: Phrase(
            "{measured}: not proven that the LoRA learned its subject",
            "{measured}. LoRA가 피사체를 학습했다는 것이 입증되지 않았습니다.",
        ),
        ReasonCode.LEARNED_OPEN: Phrase(
            "{measured}: not yet proven that the LoRA learned its subject, and no more videos were rendered",
            "{measured}. LoRA가 피사체를 학습했다는 것이 아직 입증되지 않았고, "
            "비디오를 더 생성하지 않았습니다.",
        ),
        ReasonCode.VARIES: Phrase(
            "{measured}: other seeds give other videos", "{measured}. 시드마다 다른 영상이 나옵니다."
        ),
        ReasonCode.COLLAPSES_SLIGHTLY: Phrase(
            "{measured}: other seeds give more alike videos", "{measured}. 시드 간 영상이 비슷해졌습니다."
        ),
        ReasonCode.COLLAPSES: Phrase(
            "{measured}: the LoRA gives nearly the same video whatever the seed",
            "{measured}. 시드와 관계없이 거의 같은 영상이 나옵니다.",
        ),
        ReasonCode.COLLAPSE_UNPROVEN: Phrase(
            "{measured}: the LoRA seems to give nearly the same video whatever the seed, which is not "
            "proven{budget}",
            "{measured}. 시드와 관계없이 거의 같은 영상이 나오는 것으로 보이지만 입증되지 "
            "않았습니다.{budget}",
        ),
        ReasonCode.COPIES_NOTHING: Phrase(
            "no video is nearly a training clip: the nearest, seed {seed}, is at {value} of the distance "
            "that videos of the subject have from a clip anyway (a copy is below {bound:.2f}); its clip "
            "is {clip}",
            "학습 영상과 거의 같은 영상이 없습니다. 가장 가까운 시드 {seed} 영상도 피사체 영상이 보통 갖는 "
            "거리의 {value}배이며(복사는 {bound:.2f}배 미만) 가장 가까운 학습 영상은 {clip}입니다.",
        ),
        ReasonCode.COPIES: Phrase(
            "nearly training clips, {count} of {n} videos: {copied}; the nearest is at {value} of the "
            "distance that videos of the subject have from a clip anyway (a copy is below {bound:.2f})",
            "비디오 {n}개 중 {count}개가 학습 영상과 거의 같습니다: {copied}. 가장 가까운 것은 피사체 "
            "영상이 보통 갖는 거리의 {value}배입니다(복사는 {bound:.2f}배 미만).",
        ),
    }
)
"""Whole sentences; `{measured}` is the part of the question."""

QUESTION_PARTS: Final[Mapping[str, Phrase]] = MappingProxyType(
    {
        "likeness": Phrase(
            "likeness to the references {baseline} -> {value}, a gain of {gain:.3f} ({interval}; {demand}); "
            "from the first third of the frames to the last it goes from {first:.3f} to {last:.3f}",
            "레퍼런스와의 유사도 {baseline} → {value}, 증가 {gain:.3f}({interval}, {demand}). 프레임 앞 "
            "3분의 1 {first:.3f}, 뒤 3분의 1 {last:.3f}",
        ),
        "demanded": Phrase("demanded: {fail:g}", "요구 {fail:g}"),
        "not_demanded": Phrase("none is demanded", "요구 없음"),
        "collapse": Phrase(
            "the spread over seeds is {value} of the baseline's ({interval}; band: warn up to {warn:g}, fail "
            "below {fail:g})",
            "시드 간 차이가 기준의 {value}배입니다({interval}, 허용 범위: 주의 {warn:g} 이하, 실패 "
            "{fail:g} 미만)",
        ),
        "bleed": Phrase(
            "same-seed videos differ from the baseline's by {value} of what another seed changes "
            "({interval}; band: warn from {warn:g}, fail beyond {fail:g})",
            "같은 시드의 기준 영상과의 차이가 시드를 바꿀 때의 {value}배입니다"
            "({interval}, 허용 범위: 주의 {warn:g} 이상, 실패 {fail:g} 초과)",
        ),
    }
)
"""What was measured, by metric."""

_BUDGET: Final = Phrase(
    "; the {shared} items of the run share the 5 % for false alarms, so that alone this one may be proven by "
    "the same videos; {seeds}",
    " 이번 실행의 항목 {shared}개가 오경보 확률 5%를 나누어 쓰므로 이 항목만 따로 판정하면 같은 영상으로도 "
    "입증될 수 있습니다. {seeds}",
)
_ALONE: Final = Phrase("; {seeds}", " {seeds}")
_SEEDS: Final = Phrase(
    "more seeds may decide it (--wanlora-seeds)", "시드를 늘리면 판정할 수 있습니다(--wanlora-seeds)."
)
_SEEDS_ABOUT: Final = Phrase(
    "about {more} more seeds may decide it (--wanlora-seeds)",
    "시드를 약 {more}개 늘리면 판정할 수 있습니다(--wanlora-seeds).",
)


def budget_words(judged: Judgement, language: Language) -> str:
    """What an item that is not proven shares with the others, and what to do; empty of records of before."""
    shared = judged.details.get("shared")
    if shared is None:
        return ""
    more = None if judged.evidence is None else judged.evidence.n_missing
    seeds = (_SEEDS if more is None else _SEEDS_ABOUT).say(language, more=more)
    return (_ALONE if shared == 1 else _BUDGET).say(language, shared=shared, seeds=seeds)
