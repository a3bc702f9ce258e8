"""What every view says of the race that chose a run's checkpoint: the answer, and a row a candidate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pytest_wanlora.durations import duration
from pytest_wanlora.phrases import Language, Phrase
from pytest_wanlora.reports.i18n import OBJECTIVES
from pytest_wanlora.reports.sentences import Quote

if TYPE_CHECKING:
    from pytest_wanlora.reports.svg import Kind
    from pytest_wanlora.results.race import Entrant, RaceCard

_ENDS: Final[Mapping[str, str]] = MappingProxyType(
    {"in": "in", "no_better": "no_better", "behind": "behind_for_certain", "failed": "failed"}
)
#: So many reasons to fail are listed; the table has all of them.
_MOST: Final = 5
RACE: Final[Mapping[str, Phrase]] = MappingProxyType(
    {
        "title": Phrase("The race", "후보 비교 경주"),
        "none": Phrase(
            "no winner: each of {count} candidate{count:s} fails for certain; {gated} lost least",
            "우승 후보 없음: 후보 {count}개 모두 확실히 실패하며, 손실이 가장 작은 것은 {gated}입니다",
        ),
        "unmeasured": Phrase(
            "no winner: none of {count} candidate{count:s} could be measured; {gated} comes first",
            "우승 후보 없음: 후보 {count}개 모두 측정하지 못했으며, 맨 앞의 것은 {gated}입니다",
        ),
        "alone": Phrase(
            "{winner} ({loss:+z.2f} fail bands{worst} at n = {seeds}); it can be told from every other "
            "candidate at n = {n}",
            "{winner}(n = {seeds}에서 실패 허용폭의 {loss:+z.2f}배{worst}); n = {n}에서 다른 모든 후보와 "
            "구별됩니다",
        ),
        "winner": Phrase(
            "{winner} ({loss:+z.2f} fail bands{worst} at n = {seeds}); not distinguishable from it at "
            "n = {n}: {others}",
            "{winner}(n = {seeds}에서 실패 허용폭의 {loss:+z.2f}배{worst}); n = {n}에서 이와 구별되지 않는 "
            "후보: {others}",
        ),
        "worst": Phrase(", {worst:+z.2f} where it is worst", ", 가장 나쁜 비교에서 {worst:+z.2f}배"),
        "tie": Phrase(
            "Of those that cannot be told apart, the winner is the one that loses least where it is worst.",
            "서로 구별되지 않는 후보 중에서는 가장 나쁜 비교에서의 손실이 가장 작은 후보가 우승합니다.",
        ),
        "sure": Phrase(
            "with {sure:.0%} confidence none of these is better than {margin:g} fail bands below the best "
            "that it was compared with",
            "이 후보들이 비교 대상보다 실패 허용폭의 {margin:g}배 넘게 더 좋지는 않습니다(신뢰수준 "
            "{sure:.0%})",
        ),
        "out": Phrase("out: {name}: {why}", "탈락: {name}: {why}"),
        "more_out": Phrase(
            "out, and {count} more that fail for certain", "그 밖에 확실히 실패하여 탈락한 후보 {count}개"
        ),
        "stopped": Phrase(
            "stopped before its end, {why}: {out} of {count} candidate{count:s} cannot win any more, and "
            "the others could not be told apart yet; the videos so far are kept, up to {left} more end it",
            "도중에 중단됨({why}): 후보 {count}개 중 {out}개는 더 이상 우승할 수 없고, 나머지는 아직 서로 "
            "구별되지 않았습니다. 지금까지의 영상은 보관되며, 최대 {left}개를 더 생성하면 끝납니다",
        ),
        "nothing": Phrase(
            "stopped before its end, {why}: not every candidate had the first look, {n} seeds of each "
            "scenario, so which is best is not known; the videos so far are kept, up to {left} more end it",
            "도중에 중단됨({why}): 모든 후보가 첫 비교(시나리오당 시드 {n}개)를 마치지 못해 무엇이 가장 "
            "좋은지 알 수 없습니다. 지금까지의 영상은 보관되며, 최대 {left}개를 더 생성하면 끝납니다",
        ),
        "not_gated": Phrase(
            "nobody was gated, so nothing may be published",
            "검사한 체크포인트가 없으므로 배포할 수 있는 것이 없습니다",
        ),
        "so_far": Phrase(
            "{used} video{used:s} of {most} in {time}, {rendered} rendered and {reused} from the cache",
            "영상 {most}개 중 {used}개를 {time} 동안 썼습니다(렌더링 {rendered}개, 캐시 {reused}개)",
        ),
        "cost": Phrase(
            "{used} video{used:s} of {most} in {time}, {rendered} rendered and {reused} from the cache; "
            "what was dropped early saved {saved:.0%}",
            "영상 {most}개 중 {used}개를 {time} 동안 썼으며(렌더링 {rendered}개, 캐시 {reused}개), 조기 "
            "탈락으로 {saved:.0%}를 절약했습니다",
        ),
        "candidate": Phrase("candidate", "후보"),
        "strength": Phrase("strength", "강도"),
        "videos": Phrase("videos", "영상 수"),
        "loss": Phrase("loss in fail bands", "손실(실패 허용폭의 배수)"),
        "at_worst": Phrase("where it is worst", "가장 나쁜 비교"),
        "behind": Phrase("behind the leader", "선두와의 차이"),
        "end": Phrase("what became of it", "결과"),
        "won": Phrase("won", "우승"),
        "ahead": Phrase("ahead when it stopped", "중단 시점의 선두"),
        "in": Phrase("in to the end", "끝까지 남음"),
        "still": Phrase("still in at n = {n}", "n = {n}에서 아직 남아 있음"),
        "unseen": Phrase("no look yet", "아직 비교하지 않음"),
        "tied": Phrase("in to the end, lost the tie-break", "끝까지 남았으나 동점 결정에서 짐"),
        "no_better": Phrase(
            "out at n = {n}: no better than {leader} by more than the margin",
            "n = {n}에서 탈락: {leader}보다 여유폭 넘게 좋지 않음",
        ),
        "open": Phrase(
            "no better than {leader} by more than the margin at n = {n}; the tie-break had not ended",
            "n = {n}에서 {leader}보다 여유폭 넘게 좋지 않음. 동점 결정이 끝나지 않음",
        ),
        "behind_for_certain": Phrase(
            "out at n = {n}: certainly worse than {leader}", "n = {n}에서 탈락: {leader}보다 확실히 나쁨"
        ),
        "failed": Phrase("out at n = {n}: {why}", "n = {n}에서 탈락: {why}"),
        "curve": Phrase(
            "Loss of each candidate in fail bands; up is better, the zero line is the baseline",
            "후보별 손실(실패 허용폭의 배수); 위쪽이 좋고 0선이 기준입니다",
        ),
        "curves": Phrase(
            "Loss over the checkpoints in fail bands, a line for each strength; up is better, the zero line "
            "is the baseline",
            "체크포인트별 손실(실패 허용폭의 배수, 강도마다 선 하나); 위쪽이 좋고 0선이 기준입니다",
        ),
        "key_in": Phrase("not out", "탈락하지 않음"),
        "key_out": Phrase("out", "탈락"),
    }
)

CAUSES: Final[Mapping[str, Phrase]] = MappingProxyType(
    {
        "videos": Phrase(
            "its budget is {budget} video{budget:s}, used: {used}, the next look takes {more} and the gate "
            "up to {gate}",
            "예산은 영상 {budget}개인데 {used}개를 썼고 다음 비교에 {more}개, 검사에 최대 {gate}개 필요",
        ),
        "seconds": Phrase(
            "its budget is {budget}; the next look and the gate take {needed}",
            "예산은 {budget}인데 다음 비교와 검사에 {needed} 필요",
        ),
        "spent": Phrase("its budget of {budget} is spent", "예산({budget})을 모두 사용"),
        "interrupted": Phrase("by Ctrl-C", "Ctrl-C로 중단"),
        "ended": Phrase("by pytest.exit: {message}", "pytest.exit로 중단, 원문: {message}"),
        "error": Phrase("{message}", "오류, 원문: {message}"),
        "degenerate": Phrase(
            "{scenario}, seed {seed}: {why}", "{scenario}, 시드 {seed}: 채점할 수 없는 영상, 원문: {why}"
        ),
        "loss": Phrase(
            "a loss beyond its fail band is certain in {places}",
            "실패 허용폭을 넘는 악화가 확실함({places})",
        ),
    }
)
"""Why a race stopped, or why a candidate fails; `{message}` and `{why}` are texts in English only."""


def lines(race: RaceCard, language: Language, quote: Quote, text: Quote) -> Iterator[str]:
    """The answer, what better means, who fails, and what it cost: each for itself.

    Args:
        race: The race.
        language: `"en"` or `"ko"`.
        quote: Makes names fit for the view.
        text: Makes anybody's words fit for it.
    """

    def say(key: str, **fields: object) -> str:
        return RACE[key].say(language, **fields)

    measured = any(each.loss is not None for each in race.entrants)
    out = sum(each.state in ("behind", "failed") for each in race.entrants)
    stopped = text((race.stopped_ko if language == "ko" else "") or race.stopped)
    if race.winner is None and not race.gated:
        yield say("nothing", why=stopped, n=race.looks[0], left=race.left)
    elif race.winner is None:
        yield say("none" if measured else "unmeasured", count=len(race.entrants), gated=quote(race.gated))
    else:
        won = race.entrant(race.winner)
        worst = "" if won.worst is None else say("worst", worst=won.worst)
        told = {"winner": quote(race.winner), "loss": won.loss or 0.0, "worst": worst}
        told |= {"n": won.n, "seeds": won.seeds or won.n}
        if race.not_told_apart:
            answer = say("winner", **told, others=", ".join(map(quote, race.not_told_apart)))
            if not race.stopped:
                answer += f"; {say('sure', sure=1.0 - race.alpha, margin=race.margin)}"
            yield answer
        else:
            yield say("alone", **told)
    if race.stopped and (race.winner or race.gated):
        yield say("stopped", why=stopped, out=out, count=len(race.entrants), left=race.left)
    if not race.gated:
        yield say("not_gated")
    # one that was stopped has not come to its tie-break's end, and records of earlier releases have none
    tied = (
        race.not_told_apart
        and not race.stopped
        and race.winner
        and race.entrant(race.winner).worst is not None
    )
    yield OBJECTIVES[race.objective].say(language) + (f" {say('tie')}" if tied else "")
    failed: dict[str, list[str]] = {}
    for each in race.entrants:
        if each.why:
            failed.setdefault(_why(each, language), []).append(each.name)
    for why, names in [*failed.items()][:_MOST]:
        yield say("out", name=", ".join(map(quote, names)), why=text(why))
    if more := sum(map(len, [*failed.values()][_MOST:])):
        yield say("more_out", count=more)
    saved = 1.0 - race.used / race.most
    cost = {"used": race.used, "rendered": race.used - race.reused, "reused": race.reused}
    # what a race that stopped has not rendered is not saved
    yield say(
        "so_far" if race.stopped or not measured else "cost",
        **cost,
        most=race.most,
        time=duration(race.seconds, language),
        saved=saved,
    )


def head(language: Language) -> tuple[str, ...]:
    """Titles of the columns of `rows`."""
    return tuple(
        RACE[key].say(language)
        for key in ("candidate", "strength", "videos", "loss", "at_worst", "behind", "end")
    )


def rows(race: RaceCard, language: Language, quote: Quote, text: Quote) -> Iterator[tuple[str, ...]]:
    """A row for each candidate: the winner first, then who was in to the end, then who was dropped last."""
    order = {"in": 0, "no_better": 1, "behind": 1, "failed": 2}

    def place(each: Entrant) -> tuple[bool, int, int, float]:
        loss = float("inf") if each.loss is None else each.loss
        return each.name != race.winner, order[each.state], -each.n, loss

    for each in sorted(race.entrants, key=place):
        told = {"n": each.n, "leader": quote(each.leader), "why": text(_why(each, language))}
        bounds = "" if each.low is None or each.high is None else f" [{each.low:+.2f}, {each.high:+.2f}]"
        yield (
            quote(each.name),
            each.strength,
            str(each.videos),
            "-" if each.loss is None else f"{each.loss:+z.2f}",
            "-" if each.worst is None else f"{each.worst:+z.2f}",
            "-" if each.behind is None or each.leader == each.name else f"{each.behind:+.2f}{bounds}",
            RACE[_end(race, each)].say(language, **told),
        )


def _end(race: RaceCard, each: Entrant) -> str:
    """What became of a candidate, as a key of `RACE`."""
    key = _ENDS[each.state]
    if each.name == race.winner:
        return "ahead" if race.stopped else "won"
    if key == "no_better" and race.stopped:
        return "open"
    if key == "in" and race.stopped:
        return "still" if each.n else "unseen"
    return "tied" if key == "in" and each.worst is not None else key


def mark(race: RaceCard, each: Entrant) -> tuple[Kind, str]:
    """How a plot marks a candidate, and the key of `RACE` that explains the mark."""
    end = _end(race, each)
    if end in ("won", "ahead"):
        return "won", end
    return ("out", "key_out") if end in ("no_better", "behind_for_certain", "failed") else (None, "key_in")


def _why(each: Entrant, language: Language) -> str:
    return (each.why_ko if language == "ko" else "") or each.why
