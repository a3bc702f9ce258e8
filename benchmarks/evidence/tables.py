"""The goals and tables of `docs/evidence.md`, from the study's record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from scipy import stats

from benchmarks.evidence.fixtures import NEUTRAL
from benchmarks.evidence.scenarios import CHECKPOINTS
from benchmarks.markdown import NOT_MEASURED, Marks, sections, table

__all__ = ["MARKS", "cell", "goals", "interval", "page", "share", "videos"]

MARKS = Marks("benchmarks.evidence")
#: Videos that 16 of each of the three scenarios make.
FIXED = 48
_MILD, _STRONG = NEUTRAL
_FALSE_ALARMS = (
    "base, other seeds",
    *(f"{model}, {kind}" for model in (_MILD, _STRONG) for kind in ("lost nothing", "labels swapped")),
)
_DESIGNS = {
    "sequential": "3 to 16 (the default)",
    "fixed": "16 at once",
    "tiny": "3 to 8 (the tiny suite)",
    "patient": "3 to 32",
    "single": "1 video, band alone",
}

Record = Mapping[str, Any]


def interval(failed: int, gates: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's interval of a share."""
    tail = (1.0 - level) / 2.0
    low = float(stats.beta.ppf(tail, failed, gates - failed + 1)) if failed else 0.0
    high = float(stats.beta.ppf(1.0 - tail, failed + 1, gates - failed)) if failed < gates else 1.0
    return low, high


def cell(record: Record, name: str, design: str) -> Mapping[str, Any] | None:
    """Tally of a cell under a design; None if it was not played."""
    found: Mapping[str, Any] | None = record["cells"].get(name, {}).get("designs", {}).get(design)
    return found


def share(tally: Mapping[str, Any]) -> float:
    """Failing gates of all."""
    return float(tally["failed"]) / float(tally["gates"])


def videos(tally: Mapping[str, Any]) -> float:
    """Mean videos of a gate, all scenarios."""
    return float(tally["videos"]) / float(tally["gates"])


def page(record: Record) -> str:
    """All tables."""
    return sections(
        [
            ("Goals", table(("what", "goal", "measured (95 % interval)", "met"), goals(record))),
            ("False alarms", _false_alarms(record)),
            ("A loss as large as the report's", _report(record)),
            ("One metric at a time, by the size of its loss", _sizes(record)),
            ("A loss of 1.5 fail bands, everywhere", _everywhere(record)),
            ("What is missed, and what twice the videos would catch", _missed(record)),
            ("Pairs that 1.5 fail bands need", _needed(record)),
            ("Real checkpoints, and known damage", _real(record)),
            ("The rule for the Fréchet distance", _fvd(record)),
            ("How the chance to stop at was chosen, on design seeds", _choosing(record)),
        ]
    )


def goals(record: Record) -> Iterator[tuple[str, str, str, str]]:
    """Yield what is asked for, what was measured, and whether it is met."""
    for name in _FALSE_ALARMS:
        yield _goal(
            f"false alarms: {name}", cell(record, f"false alarms/{name}", "sequential"), 0.05, least=False
        )
    for place in _places(record, "report"):
        yield _goal(
            f"a loss as large as the report's, in {place}",
            cell(record, f"report/{place}", "sequential"),
            0.95,
            least=True,
        )
    for model in (_MILD, _STRONG):
        asked = {name: tally for name, tally in _at_size(record, 1.5, "sequential") if model in name}
        caught = [name for name, tally in asked.items() if share(tally) >= 0.8]
        what = f"1.5 x a fail band in one scenario is caught, scatter of {model}"
        goal = ">= 80 % of gates, each metric and scenario"
        if not asked:
            yield what, goal, NOT_MEASURED, "-"
        else:
            worst = min(share(tally) for tally in asked.values())
            said = f"{len(caught)} of {len(asked)} reach it; worst {_percent(worst)}"
            yield what, goal, said, "yes" if len(caught) == len(asked) else "NOT"
    for what, names in (
        ("the three example checkpoints", [f"real/{name}" for name in CHECKPOINTS]),
        (
            "candidates that lost nothing",
            [f"false alarms/{name}, lost nothing" for name in (_MILD, _STRONG)],
        ),
    ):
        tallies = [cell(record, name, "sequential") for name in names]
        known = [tally for tally in tallies if tally is not None]
        goal, what = f"<= {FIXED // 2} (half of {FIXED})", f"mean videos a decision, {what}"
        if len(known) < len(names):
            yield what, goal, NOT_MEASURED, "-"
        else:
            mean = fmean(videos(tally) for tally in known)
            said = f"{mean:.1f} ({', '.join(f'{videos(tally):.1f}' for tally in known)})"
            yield what, goal, said, "yes" if mean <= FIXED / 2 else "NOT"
    yield _given_up(record)


def _given_up(record: Record) -> tuple[str, str, str, str]:
    """How much less the sequential design catches than 16 videos at once."""
    less = {
        name.partition("/")[2]: share(found["designs"]["fixed"]) - share(found["designs"]["sequential"])
        for name, found in record["cells"].items()
        if name.startswith(("sizes/", "report/", "real/")) and "fixed" in found["designs"]
    }
    what, goal = "losses caught by 16 at once and not by the default", "the same error rates"
    if not less:
        return what, goal, NOT_MEASURED, "-"
    worst = max(less, key=lambda name: less[name])
    said = f"{100 * fmean(less.values()):.1f} points on average of {len(less)} kinds"
    return what, goal, f"{said}; at most {100 * less[worst]:.0f} ({worst})", "-"


def _goal(
    what: str, tally: Mapping[str, Any] | None, bound: float, *, least: bool
) -> tuple[str, str, str, str]:
    goal = f"{'>=' if least else '<='} {_percent(bound)} of gates"
    if tally is None:
        return what, goal, NOT_MEASURED, "-"
    met = share(tally) >= bound if least else share(tally) <= bound
    return what, goal, f"{_with_interval(tally)} of {tally['gates']}", "yes" if met else "NOT"


def _at_size(record: Record, size: float, design: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Cells of a loss of one metric in one scenario."""
    for name, found in record["cells"].items():
        if name.startswith("sizes/") and found["size"] == size and found["place"] != "all":
            yield name, found["designs"][design]


def _places(record: Record, part: str) -> list[str]:
    return [name.partition("/")[2] for name in record["cells"] if name.startswith(f"{part}/")]


def _false_alarms(record: Record) -> str:
    rows = []
    for name in _places(record, "false alarms"):
        tallies = [cell(record, f"false alarms/{name}", design) for design in _DESIGNS]
        rows.append((name, *(_with_interval(tally) if tally else NOT_MEASURED for tally in tallies)))
    return table(("gates that fail", *_DESIGNS.values()), rows) if rows else ""


def _report(record: Record) -> str:
    rows = []
    for place in _places(record, "report"):
        for design, words in _DESIGNS.items():
            tally = cell(record, f"report/{place}", design)
            if tally:
                rows.append((place, words, _with_interval(tally), f"{videos(tally):.0f}"))
    return table(("scenario", "design", "gates that fail", "videos"), rows) if rows else ""


def _sizes(record: Record) -> str:
    found = [each for name, each in record["cells"].items() if name.startswith("sizes/")]
    found = [each for each in found if each["model"] == _MILD]
    sizes = sorted({each["size"] for each in found})
    rows = []
    for place in ("test2_nature", "all"):
        for metric in dict.fromkeys(each["metric"] for each in found):
            line = []
            for size in sizes:
                at = [
                    each["designs"]
                    for each in found
                    if (each["metric"], each["place"], each["size"]) == (metric, place, size)
                ]
                line.append(
                    " / ".join(_percent(share(at[0][d])) for d in ("sequential", "fixed", "single"))
                    if at
                    else ""
                )
            if any(line):
                band = f"{100 * record['tolerances'][metric]:g} %"
                rows.append((place, metric, band, *line))
    head = ("where", "metric", "fail band", *(f"{size:g} x" for size in sizes))
    return table(head, rows) if rows else ""


def _everywhere(record: Record) -> str:
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for found in record["cells"].values():
        if found.get("size") == 1.5:
            tally, small = (found["designs"][design] for design in ("sequential", "tiny"))
            mark = "" if share(tally) >= 0.8 else " NOT"
            said = f"{_percent(share(tally))}{mark} / {_percent(share(small))}"
            rows.setdefault((found["model"], found["metric"]), {})[found["place"]] = said
    places = list(dict.fromkeys(place for row in rows.values() for place in row))
    lines = [
        (model, metric, *(row.get(place, "") for place in places)) for (model, metric), row in rows.items()
    ]
    return (
        table(("scatter of", "metric", *places), sorted(lines, key=lambda row: row[0] != _MILD))
        if rows
        else ""
    )


def _missed(record: Record) -> str:
    designs = ("sequential", "fixed", "patient")
    played = [found for found in record["cells"].values() if found.get("size") == 1.5]
    rows = [
        (
            found["model"],
            f"{found['metric']} of {found['place']}",
            *(_with_interval(found["designs"][design]) for design in designs),
            " / ".join(f"{videos(found['designs'][design]):.0f}" for design in designs),
        )
        for found in played
        if share(found["designs"]["sequential"]) < 0.8
    ]
    head = ("scatter of", "1.5 bands of", *(_DESIGNS[design] for design in designs), "videos")
    if played and not rows:
        return "Nothing: each loss of 1.5 bands is caught in 80 % of gates or more."
    return table(head, rows) if rows else ""


def _choosing(record: Record) -> str:
    found = record.get("choosing", {})
    designs = list(next(iter(found.values()))) if found else []
    parts = ("false alarms", "losses", "checkpoints")
    kinds = {part: [each for name, each in found.items() if name.startswith(f"{part}/")] for part in parts}
    rows = []
    for design in designs:
        alarms, losses, checkpoints = ([each[design] for each in kinds[part]] for part in parts)
        lost_nothing = [each[design] for name, each in found.items() if name.endswith("lost nothing")]
        rows.append(
            (
                design,
                _percent(max(map(share, alarms))),
                f"{_percent(fmean(map(share, losses)))}, {_percent(min(map(share, losses)))}",
                f"{fmean(map(videos, checkpoints)):.1f}",
                f"{fmean(map(videos, lost_nothing)):.1f}",
            )
        )
    head = ("stop at a chance of", "most false alarms", "six hard losses: mean, worst", "videos: checkpoints")
    return table((*head, "lost nothing"), rows) if rows else ""


def _needed(record: Record) -> str:
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for model, items in record.get("needed", {}).items():
        for item, pairs in items.items():
            place, _, metric = item.partition("/")
            rows.setdefault((model, metric), {})[place] = "more than 10,000" if pairs is None else str(pairs)
    places = list(dict.fromkeys(place for row in rows.values() for place in row))
    lines = [(model, metric, *(row[place] for place in places)) for (model, metric), row in rows.items()]
    return (
        table(("scatter of", "metric", *places), sorted(lines, key=lambda row: row[0] != _MILD))
        if rows
        else ""
    )


def _real(record: Record) -> str:
    rows = []
    for name in _places(record, "real"):
        tallies = {d: cell(record, f"real/{name}", d) for d in ("sequential", "fixed", "single")}
        own = tallies["sequential"]
        changes = record.get("changes", {}).get(name, {})
        worst = sorted(changes, key=lambda item: -changes[item])[:2]
        true = ", ".join(f"{item} {changes[item]:.2f}" for item in worst)
        if own:
            rows.append(
                (
                    name,
                    true,
                    *(_percent(share(tally)) if tally else "" for tally in tallies.values()),
                    f"{videos(own):.0f}",
                )
            )
    head = (
        "candidate",
        "largest true losses, in fail bands",
        "fails: 3 to 16",
        "16 at once",
        "1 video",
        "videos",
    )
    return table(head, rows) if rows else ""


def _fvd(record: Record) -> str:
    rows = []
    for name, found in record.get("fvd rule", {}).items():
        rules = [key for key in found if key != "gates"]
        order = sorted(
            rules, key=lambda rule: (rule.startswith("raw"), rule not in ("sequential",), len(rule), rule)
        )
        gates = int(found["gates"])
        rows.append((name, *(_with_interval({"failed": int(found[rule]), "gates": gates}) for rule in order)))
        head = ("gates in which a Fréchet distance fails", *order)
    return table(head, rows) if rows else ""


def _with_interval(tally: Mapping[str, Any]) -> str:
    low, high = interval(tally["failed"], tally["gates"])
    return f"{_percent(share(tally))} ({_percent(low)} to {_percent(high)})"


def _percent(value: float) -> str:
    text = f"{100 * value:.1f}"
    return f"{text.removesuffix('.0')} %"
