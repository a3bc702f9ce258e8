"""Drawing a training set with wanted shares: exact counts, no repeats unasked, the same for the same seed.

The draw depends on what the rows say and on the seed, not on their order in the file: every row has a
fingerprint of all its columns, each category's rows are ranked by a hash of fingerprint and seed, and the
first ones are taken. The set is written in the order of that hash.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.errors import DataError, RecordError
from pytest_wanlora.files import listing
from pytest_wanlora.training_data.duplicates import THRESHOLD
from pytest_wanlora.training_data.survey import Survey
from pytest_wanlora.training_data.videos import BROKEN

Drop = Literal["near", "exact", "none"]
"""Which repeated prompts are left out before the draw."""

FACTORS: Final = {"fail": Fraction(2), "undecided": Fraction(3, 2), "warn": Fraction(3, 2)}
"""What the share of a category is multiplied by, by the worst verdict on its scenarios."""

_NO_VIDEO = "without a usable video"
_EXAMPLE: Final = {"--share": "urban=0.3,nature=0.3,action=0.2,other=0.2"}


@dataclass(frozen=True)
class Draw:
    """A balanced set, as row numbers.

    Attributes:
        rows: Rows of the survey in the order of the new file, some more than once if repeats were asked for.
        wanted: Rows by category.
        distinct: Different rows drawn by category; less than `wanted` where rows are repeated.
        available: Rows by category that could be drawn.
        dropped: Rows left out before the draw, by reason: `without a prompt`, `without a usable video`,
            `exact duplicates`, `near duplicates`.
    """

    rows: tuple[int, ...]
    wanted: Mapping[str, int]
    distinct: Mapping[str, int]
    available: Mapping[str, int]
    dropped: Mapping[str, int]

    @property
    def repeated(self) -> dict[str, tuple[int, int]]:
        """Least and most times that a row is taken, by category whose rows are repeated."""
        return {
            name: (self.wanted[name] // distinct, -(-self.wanted[name] // distinct))
            for name, distinct in self.distinct.items()
            if 0 < distinct < self.wanted[name]
        }


def parse_shares(text: str) -> dict[str, Fraction]:
    """Read `urban=0.3,nature=0.3,action=0.2,other=0.2`.

    Args:
        text: Category and share, a decimal number or a fraction such as `1/3`, separated by commas.

    Returns:
        Exact shares, in the order given. Their sum is not looked at; see `check_shares`.

    Raises:
        DataError: Something in it is no category with a share from 0 to 1, or a category is named twice.
    """
    shares: dict[str, Fraction] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not name or not equals:
            raise DataError(f"--share: {part!r} is not CATEGORY=SHARE", options=_EXAMPLE)
        try:
            share = Fraction(number)
        except (ValueError, ZeroDivisionError) as error:
            raise DataError(
                f"--share: {number!r} for {name} is neither a number nor a fraction, such as 0.3 or 1/3",
                options=_EXAMPLE,
            ) from error
        if not 0 <= share <= 1:
            raise DataError(f"--share: {number} for {name} is not from 0 to 1", options=_EXAMPLE)
        if name in shares:
            raise DataError(f"--share: {name} is named twice; allowed: once", options=_EXAMPLE)
        shares[name] = share
    return shares


def check_shares(shares: Mapping[str, Fraction], categories: Iterable[str]) -> None:
    """Refuse shares that do not sum to 1, or of a category that there is not.

    Raises:
        DataError: The sum is not exactly 1, or a category is unknown.
    """
    known = list(categories)
    unknown = next((name for name in shares if name not in known), None)
    if unknown is not None:
        raise DataError(
            f"--share: there is no category {unknown!r}; there are {', '.join(known)}",
            options={"--share": equal_shares(known)},
        )
    total = sum(shares.values(), Fraction(0))
    if total != 1:
        raise DataError(
            f"--share: the shares sum to {float(total):g}, not to 1; a third is written 1/3",
            options={"--share": _written({name: share / total for name, share in shares.items()})}
            if total
            else {"--share": equal_shares(known)},
        )


def equal_shares(categories: Iterable[str]) -> str:
    """What `--share` takes to give each category the same share."""
    names = list(categories)
    return _written(dict.fromkeys(names, Fraction(1, len(names))))


def _written(shares: Mapping[str, Fraction]) -> str:
    return ",".join(f"{name}={share}" for name, share in shares.items())


def apportion(shares: Mapping[str, Fraction], samples: int) -> dict[str, int]:
    """Whole numbers in the proportion of the shares, by largest remainder (Hamilton's method).

    Returns:
        Rows by category; each differs from share times samples by less than 1. Equal remainders: the larger
        share first, then the category that stands first in `shares`.
    """
    quotas = {name: share * samples for name, share in shares.items()}
    counts = {name: int(quota) for name, quota in quotas.items()}
    order = sorted(shares, key=lambda name: (counts[name] - quotas[name], -shares[name]))
    for name in order[: samples - sum(counts.values())]:
        counts[name] += 1
    return counts


def draw(
    survey: Survey,
    shares: Mapping[str, Fraction],
    samples: int,
    *,
    seed: int,
    drop: Drop = "exact",
    threshold: float = THRESHOLD,
    repeat: bool = False,
) -> Draw:
    """Draw rows.

    Args:
        shares: Exact shares by category, with the sum 1.
        samples: Rows to draw, at least 1.
        drop: Which repeats to leave out; `near` needs a survey that looked for them. Of the rows that repeat
            each other one stays, the same for every seed.
        threshold: Similarity from which on prompts are near duplicates.
        repeat: Take the rows of a category that is short several times, each as often as the others but for
            one.

    Raises:
        DataError: Shares or samples are not allowed; or a category is short: the message says by how much.
    """
    check_shares(shares, survey.rules.names)
    if samples < 1:
        raise DataError(f"--samples: {samples} is not 1 or more", options={"--samples": "1000"})
    wanted = apportion(shares, samples)
    usable, dropped = _usable(survey, drop, threshold)
    available = survey.counts(usable, repeats=False)
    short = [
        name for name, count in wanted.items() if count > available[name] and not (repeat and available[name])
    ]
    if short:
        raise _too_few(survey, short, shares, wanted, available, dropped)
    ranks = _mixed(survey.row_digests, seed)
    chosen = np.zeros(0, dtype=np.int64)
    turns = np.zeros(0, dtype=np.int64)
    for name, count in wanted.items():
        rows = np.flatnonzero(usable & (survey.categories == survey.rules.names.index(name)))
        rows = rows[np.argsort(ranks[rows], kind="stable")]
        times = np.arange(count)
        chosen = np.append(chosen, rows[times % max(len(rows), 1)])
        turns = np.append(turns, times // max(len(rows), 1))
    # all rows once, then the first repeats: a training that is stopped early has seen every row as often
    order = np.lexsort((ranks[chosen], turns))
    return Draw(
        rows=tuple(chosen[order].tolist()),
        wanted=wanted,
        distinct={name: min(count, available[name]) for name, count in wanted.items()},
        available=available,
        dropped=dropped,
    )


def _usable(survey: Survey, drop: Drop, threshold: float) -> tuple[NDArray[np.bool_], dict[str, int]]:
    usable = survey.present.copy()
    dropped = {"without a prompt": int(np.count_nonzero(~usable))}
    broken = usable & np.isin(survey.video_states, list(BROKEN))
    dropped[_NO_VIDEO] = int(np.count_nonzero(broken))
    usable &= ~broken
    if drop != "none":
        found = survey.duplicates(near=drop == "near", among=usable, threshold=threshold)
        dropped["exact duplicates"] = found.exact_count
        dropped["near duplicates"] = found.near_count
        usable &= found.kept == np.arange(len(survey))
    return usable, {reason: count for reason, count in dropped.items() if count}


def _too_few(
    survey: Survey,
    short: Sequence[str],
    shares: Mapping[str, Fraction],
    wanted: Mapping[str, int],
    available: Mapping[str, int],
    dropped: Mapping[str, int],
) -> DataError:
    lines = [f"{survey.source.path}: too few rows of {', '.join(short)}; nothing was written"]
    for name in short:
        by = wanted[name] - available[name]
        lines.append(f"  {name}: {wanted[name]:,} wanted, {available[name]:,} there, {by:,} short")
    if dropped:
        reasons = (f"{count:,} {reason}" for reason, count in dropped.items())
        lines.append(f"  left out before: {', '.join(reasons)}")
    # rounding gives a category one row more than its share at most
    most = min(int((available[name] + 1) / share) for name, share in shares.items() if share)
    while most and any(count > available[name] for name, count in apportion(shares, most).items()):
        most -= 1
    ways: list[dict[str, str | bool]] = [{"--samples": str(most)}] if most else []
    allowed = [f"--samples up to {most} with these shares"] if most else []
    if dropped.get(_NO_VIDEO):
        allowed.append("--base with the folder of the videos, or --videos none, which does not look for them")
    if all(available[name] for name in short):
        ways.append({"--repeat": True})
        allowed.append("--repeat, which takes rows several times")
    lines.append("  allowed: " + "; ".join([*allowed, "other shares"]))
    there = sum(available.values())
    if sum(wanted.values()) <= there:
        as_there = {name: Fraction(count, there) for name, count in available.items() if count}
        ways.append({"--share": _written(as_there)})
    if dropped.get(_NO_VIDEO):
        ways.append({"--videos": "none"})
    report = f"python -m pytest_wanlora data report {shlex.quote(str(survey.source.path))}"
    return DataError(
        "\n".join(lines), options=ways[0] if ways else None, next_command=None if ways else report
    )


def _mixed(digests: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """A hash of fingerprints and seed: the finalizer of splitmix64 (Steele, Lea and Flood 2014)."""
    mixed = digests + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64)
    for shift, multiplier in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(multiplier)
    return mixed ^ (mixed >> np.uint64(31))


def raised(base: Mapping[str, Fraction], outcomes: Iterable[tuple[str, str]]) -> dict[str, Fraction]:
    """Raise the shares of the categories that regressed.

    Each category's share is multiplied by 2 if a comparison of one of its scenarios failed, else by 3/2 if
    one is a warning or undecided, which is beyond its band and not proven, else by 1; then all are divided by
    their sum. Other verdicts raise nothing: what was not measured, or not against this baseline, says nothing
    about the data.

    Raises:
        DataError: Nothing regressed, or what did has no share to raise.
    """
    factors = dict.fromkeys(base, Fraction(1))
    regressed: set[str] = set()
    for category, verdict in outcomes:
        factor = FACTORS.get(verdict)
        if factor is not None:
            regressed.add(category)
            if category in factors:
                factors[category] = max(factor, factors[category])
    if not regressed:
        raise DataError(
            "--toward: no comparison of the run fails, warns or is undecided, so no category needs more",
            options={"--toward": False, "--candidate": False, "--share": _written(base)},
        )
    weights = {name: share * factors[name] for name, share in base.items()}
    if all(weights[name] == base[name] for name in base):
        raise DataError(
            f"--toward: {', '.join(sorted(regressed))} regressed but have no share to raise; "
            f"there are {', '.join(base)}",
            options={"--share": equal_shares(base)},
        )
    total = sum(weights.values(), Fraction(0))
    return {name: weight / total for name, weight in weights.items()}


def outcomes(run: Path, candidate: str | None = None) -> list[tuple[str, str]]:
    """Category and verdict of each comparison of a scenario in a run.

    Args:
        run: A `results.json`, or its folder.
        candidate: Whose comparisons; may be left out where the run has one candidate.

    Raises:
        DataError: The record cannot be read, has several candidates, or none of that name.
    """
    # pydantic and scipy come with it; only --toward needs them
    from pytest_wanlora import results

    try:
        record = results.load(run)
    except RecordError as error:
        raise DataError(
            f"--toward: {error.message}; a run's folder or its results.json is needed",
            next_command=listing(run),
        ) from error
    names = [card.name for card in record.candidates]
    first: dict[str, str | bool] = (
        {"--candidate": names[0]} if names else {"--toward": False, "--candidate": False}
    )
    if candidate is None and len(names) != 1:
        raise DataError(
            f"{run}: the run has {len(names)} candidates, of which --candidate names one: {', '.join(names)}",
            options=first,
        )
    if candidate is not None and candidate not in names:
        raise DataError(
            f"{run}: there is no candidate {candidate!r}; there are {', '.join(names)}",
            options=first,
        )
    return [
        (record.suite.prompts[item.scenario].category, item.verdict.value)
        for item in record.judgements
        if item.kind == "regression"
        and item.candidate == (candidate or names[0])
        and item.scenario in record.suite.prompts
    ]
