"""Limits that a verifier asks for: how they are written, and whether a receipt keeps them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_wanlora.errors import SettingsError
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.publishing.predicate import Limit, PredicateV1
from pytest_wanlora.publishing.recomputed import EACH
from pytest_wanlora.verdict.judgement import ALL

HELP: Final = "python -m pytest_wanlora verify --help"
"""The next command of a demand that cannot be read."""


@dataclass(frozen=True)
class Bound:
    """A limit that the verifier asks for.

    Attributes:
        place: `"each"` scenario, `"all"` of them pooled, or a scenario's id.
    """

    text: str
    metric: str
    minimum: float | None
    maximum: float | None
    place: str

    def places(self, said: PredicateV1) -> Sequence[str]:
        """The scenarios, or `"all"`, that it is about."""
        return said.suite.scenarios if self.place == EACH else (self.place,)

    @property
    def yaml(self) -> str:
        """What stands for it among the limits of a suite."""
        sign, number = ("max", self.maximum) if self.minimum is None else ("min", self.minimum)
        return f"- {{metric: {self.metric}, {sign}: {number:g}, scenario: {self.place}}}"

    def kept(self, value: float | None) -> bool:
        """Whether a value is known and within it."""
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        return value is not None and low <= value <= high


def parse_bound(text: str) -> Bound:
    """Read `METRIC>=NUMBER` or `METRIC<=NUMBER`, with `@each`, `@all` or `@SCENARIO` behind it.

    Without a place it means what it means in a suite: each scenario for scores of videos, all of them pooled
    for distances of sets.
    """
    found = re.fullmatch(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=)\s*([-+0-9.eE]+)\s*(?:@\s*(\S+)\s*)?", text)
    allowed = (
        "'METRIC>=NUMBER' or 'METRIC<=NUMBER', with @each, @all or @SCENARIO behind it if need be, in "
        "quotes: a shell takes > for a redirection"
    )
    if found is None:
        raise SettingsError(
            f"--require: {text!r} is no bound; allowed: {allowed}",
            next_command=HELP,
        )
    metric, sign, number, place = found.groups()
    if metric not in METRICS:
        raise SettingsError(
            f"--require: {text!r}: {metric!r} is no metric; allowed: {', '.join(METRICS)}",
            next_command=HELP,
        )
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise SettingsError(
            f"--require: {text!r}: {number!r} is no number; allowed: {allowed}",
            next_command=HELP,
        )
    low, high = (value, None) if sign == ">=" else (None, value)
    usual = ALL if METRICS[metric].level == "set" else EACH
    return Bound(text.strip(), metric, low, high, place or usual)


def of_limit(limit: Limit) -> Bound:
    """A suite's limit in the form of a verifier's."""
    low = "" if limit.min is None else f">={limit.min:g}"
    high = "" if limit.max is None else f"<={limit.max:g}"
    text = f"{limit.metric}{' and '.join(filter(None, (low, high)))}@{limit.scenario}"
    return Bound(text, limit.metric, limit.min, limit.max, limit.scenario)


def where_lax(said: PredicateV1, bound: Bound) -> list[str]:
    """Scenarios where no limit of the suite is as strict: another run on the same suite changes nothing."""
    limits = said.suite.limits
    return [place for place in bound.places(said) if not any(_as_strict(lim, bound, place) for lim in limits)]


def problems(said: PredicateV1, bound: Bound) -> Iterable[str]:
    """Where a receipt had no limit that is as strict, has no value, or one that breaks the bound."""
    places = bound.places(said)
    if not places or not set(places) <= {*said.suite.scenarios, ALL}:
        known = ", ".join(said.suite.scenarios)
        yield f"required: {bound.text}; the suite has no scenario {bound.place}; it has {known}"
        return
    if lax := where_lax(said, bound):
        own = [of_limit(limit).text for limit in said.suite.limits if limit.metric == bound.metric]
        force = f"in force is {', '.join(own)}" if own else f"no limit on {bound.metric} was in force"
        yield f"required: {bound.text}; {force}: not as strict in {_listed(lax)}"
    for place in places:
        values = [
            judged.value
            for judged in said.items
            if judged.kind != "checkpoint" and (judged.metric, judged.scenario) == (bound.metric, place)
        ]
        if not values:
            yield f"required: {bound.text}; {bound.metric} was not measured in {named(place)}"
        for value in values:
            if not bound.kept(value):
                number = "not known" if value is None else f"{value:g}"
                yield f"required: {bound.text}; measured: {number} in {named(place)}"
                break


def named(place: str) -> str:
    """A scenario's id, or words for all of them."""
    return "all scenarios together" if place == ALL else place


def _as_strict(limit: Limit, bound: Bound, place: str) -> bool:
    here = limit.scenario == place or (limit.scenario == EACH and place != ALL)
    low = bound.minimum is None or (limit.min is not None and limit.min >= bound.minimum)
    high = bound.maximum is None or (limit.max is not None and limit.max <= bound.maximum)
    return here and limit.metric == bound.metric and low and high


def _listed(places: Sequence[str]) -> str:
    shown = ", ".join(map(named, places[:3]))
    return shown if len(places) <= 3 else f"{shown} and {len(places) - 3} more"
