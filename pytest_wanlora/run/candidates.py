"""The candidates of a run, checkpoints at each strength, and what is demanded of each."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import TYPE_CHECKING, TypeVar

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora import suite as suites
from pytest_wanlora.errors import Changed, CheckpointError, JobError, SettingsError, SuiteError, WanloraError
from pytest_wanlora.files import from_here
from pytest_wanlora.jobs.job import BASE
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.options import in_one_word
from pytest_wanlora.phrases import digits, product
from pytest_wanlora.run import questions
from pytest_wanlora.verdict.judgement import ALL, ItemId

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint import Checkpoint
    from pytest_wanlora.settings import Settings
    from pytest_wanlora.suite import Scenario, Suite


T = TypeVar("T")
#: Problems of a checkpoint with which rendering it would be a waste: nothing it shows could be published.
_HOPELESS = frozenset({"nan", "inf", "zero_b"})


@dataclass(frozen=True)
class Candidate:
    """What is gated.

    Attributes:
        name: Unique within the run; `"base"` for the model without LoRA.
        checkpoint: The LoRA; None for the model without.
        scale: Its strength; 0 without one.
    """

    name: str
    checkpoint: Checkpoint | None
    scale: float = 0.0

    @property
    def strengths(self) -> Mapping[str, float]:
        """Of a pair whose halves have strengths of their own, the factor on each expert's LoRA."""
        found = {} if self.checkpoint is None else self.checkpoint.strengths
        return found if any(each != 1.0 for each in found.values()) else {}

    @property
    def argument(self) -> str:
        """What to give `--lora` to get the checkpoint again; empty for the model without."""
        return "" if self.checkpoint is None else self.checkpoint.argument

    def without(self, expert: str) -> Candidate | None:
        """A pair with the other expert's LoRA alone, to see what this one does; None if it has no other."""
        own = self.checkpoint
        rest = {} if own is None else {name: each for name, each in own.experts.items() if name != expert}
        if own is None or not rest:
            return None
        name = f"{self.name} without its {expert}-noise LoRA"
        return replace(self, name=name, checkpoint=checkpoints.pair(name, rest, own.strengths))

    @property
    def hopeless(self) -> str:
        """Why rendering it would be a waste, as its weights are NaN; empty if it would not be."""
        problems = () if self.checkpoint is None else self.checkpoint.problems
        return "; ".join(problem.words for problem in problems if problem.code in _HOPELESS)

    @property
    def inspect(self) -> str:
        """The command that shows its file, or both of a pair; empty for the model without."""
        if self.checkpoint is None:
            return ""
        files = [each.path for each in self.checkpoint.experts.values()] or [self.checkpoint.path]
        return shlex.join(["python", "-m", "pytest_wanlora", "inspect", *map(from_here, files)])

    def renderable(self) -> Checkpoint | None:
        """The checkpoint to render with.

        Raises:
            JobError: Rendering it would be a waste.
        """
        if self.checkpoint is not None and self.hopeless:
            raise JobError(
                f"{self.name}: not rendered: {self.hopeless}",
                next_command=self.inspect,
            )
        return self.checkpoint


def read_candidates(settings: Settings) -> tuple[Candidate, ...]:
    """Read the checkpoints of `--lora`, each at each strength; the model without LoRA if there is none.

    Candidates of one file follow each other, so that a process loads it once. Names tell the strength where
    there are several: `epoch-6@0.8`.

    Raises:
        CheckpointError: Some of them cannot be read or are refused; names all of these, and those that do
            not fit the suite.
    """
    if not settings.lora:
        return (Candidate(BASE, None),)
    asked = checkpoints.asked(settings.lora, by_name=_pairs_by_name(settings))
    _refuse_products(settings, asked)
    # a file called base.safetensors must not be taken for the model without LoRA
    names = checkpoints.numbered(
        [f"{name}-lora" if name == BASE else name for name in checkpoints.names_of(asked)]
    )
    named = dict(zip(names, asked, strict=True))
    arguments = {name: each.argument for name, each in named.items()}
    read = _all_or_none(
        settings, arguments, lambda name: named[name].read(name), lambda found: _misfits(settings, found)
    )
    # a file with the LoRAs of both experts may have been given as `high=` and `low=` of it too
    once: dict[object, str] = {}
    for name, each in read.items():
        halves = tuple(
            (expert, os.path.realpath(half.path), each.strengths[expert])
            for expert, half in each.experts.items()
        )
        once.setdefault(halves or name, name)
    several = len(settings.scales) > 1
    return tuple(
        Candidate(f"{name}@{digits(scale)}" if several else name, read[name], scale)
        for name in once.values()
        for scale in settings.scales
    )


def _refuse_products(settings: Settings, asked: Iterable[checkpoints.Asked]) -> None:
    """Refuse a strength of the run that takes that of half of a pair beyond what a strength may be."""
    beyond = [
        (scale, expert, own, each.argument)
        for each in asked
        for expert, own in each.strengths.items()
        for scale in settings.scales
        if not 0 < abs(scale * own) <= 10
    ]
    for scale, expert, own, argument in beyond:
        source = settings.sources.get("wanlora-scale", "--wanlora-scale")
        kept = [each for each in settings.scales if each not in {wrong for wrong, *_ in beyond}] or [1.0]
        raise SettingsError(
            f"{source}: {digits(scale)} times {digits(own)}, the strength of {expert} in {argument}, is "
            f"{product(own, scale)}; allowed: a product from -10 to 10 and not 0",
            next_command=settings.again(f"--wanlora-scale={','.join(map(digits, kept))}"),
        )


def check_fits(settings: Settings, suite: Suite, candidates: Iterable[Candidate]) -> None:
    """Refuse candidates that change what the suite's model does not have, all in one message.

    Raises:
        SuiteError: A width of one differs, or the model lacks a block or a layer.
    """
    found = {each.argument: each.checkpoint for each in candidates if each.checkpoint is not None}
    _all_or_none(settings, {each: each for each in found}, lambda each: suites.check_fit(suite, found[each]))


def once(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The first candidate of equal files at each strength: videos of the others are the same ones again."""
    found: dict[object, Candidate] = {}
    for each in candidates:
        of = each.checkpoint
        halves = () if of is None else (of.identity, tuple(of.strengths.items()))
        found.setdefault((halves, each.scale), each)
    return tuple(found.values())


def with_warnings(suite: Suite, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Warn of candidates whose header, or name, says that they are of another model than the suite has."""
    known: dict[int, Checkpoint] = {}
    found = []
    for each in candidates:
        own = each.checkpoint
        if own is not None and id(own) not in known:
            more = (*suites.other_model(suite, own), *suites.half_alone(suite, own))
            known[id(own)] = replace(own, warnings=(*own.warnings, *more))
        # candidates of one file go on having one checkpoint
        found.append(each if own is None else replace(each, checkpoint=known[id(own)]))
    return tuple(found)


def repeated(candidates: Iterable[Candidate], *, race: bool = False) -> tuple[str, ...]:
    """Which checkpoints were given more than once under different names, a sentence each.

    Args:
        candidates: As they were named.
        race: Whether only `once` of them goes on.
    """
    found = {each.argument: each.checkpoint for each in candidates if each.checkpoint is not None}
    alike: dict[object, list[str]] = {}
    for name, each in found.items():
        alike.setdefault((each.weights, tuple(each.strengths.items())), []).append(name)
    said = []
    for names in alike.values():
        files = len({found[name].identity for name in names})
        how = "equal files" if files == 1 else "different files with equal norms in every layer"
        if len(names) > 1:
            end = "of equal files the first alone races" if race and files < len(names) else "one is enough"
            said.append(f"{', '.join(names)} are one LoRA ({how}), which nothing can tell apart: {end}")
    return tuple(said)


def apart(settings: Settings, candidates: Iterable[Candidate]) -> tuple[str, ...]:
    """Halves of a pair that were given as two candidates, a sentence with the command that pairs them.

    Halves that belong together have a common part of their names; one high-noise and one low-noise LoRA of a
    run belong together whatever they are called.
    """
    halves: dict[str, dict[str, Candidate]] = {expert: {} for expert in checkpoints.EXPERTS}
    for each in candidates:
        if each.checkpoint is not None and len(each.checkpoint.experts) == 1:
            ((expert, own),) = each.checkpoint.experts.items()
            halves[expert].setdefault(checkpoints.common_name(own.path), each)
    high, low = (halves[expert] for expert in checkpoints.EXPERTS)
    pairs = [(high[name], low[name]) for name in high if name in low]
    if len(high) == len(low) == 1:
        pairs = [*zip(high.values(), low.values(), strict=True)]
    said = []
    for two in pairs:
        command = settings.again(f"--lora={','.join(each.argument for each in two)}", without=["--lora"])
        said.append(
            f"{two[0].name} and {two[1].name} are two candidates, a high-noise LoRA alone and a low-noise "
            f"LoRA alone, each with the base model for the other expert; to gate them as one pair: {command}"
        )
    return tuple(said)


def _misfits(settings: Settings, found: Mapping[str, Checkpoint]) -> dict[str, WanloraError]:
    """Those that do not fit the suite of the run, as far as it can be chosen by the others."""
    from pytest_wanlora.settings import load_suite

    misfits: dict[str, WanloraError] = {}
    with suppress(WanloraError):  # it is said when all files can be read
        suite = load_suite(settings, list(found.values()))
        for name, each in found.items():
            try:
                suites.check_fit(suite, each)
            except SuiteError as error:
                misfits[name] = error
    return misfits


def _all_or_none(
    settings: Settings,
    arguments: Mapping[str, str],
    take: Callable[[str], T],
    unfit: Callable[[dict[str, T]], dict[str, WanloraError]] = lambda _: {},
) -> dict[str, T]:
    """Take every checkpoint, or refuse all that cannot be taken in one message: one of them may be the best.

    Args:
        settings: Of the run.
        arguments: Of each what to give `--lora`.
        take: Raises for one that is refused.
        unfit: Which of the others would be refused next, where some are already.
    """
    taken: dict[str, T] = {}
    refused: dict[str, WanloraError] = {}
    for name in arguments:
        try:
            taken[name] = take(name)
        except (CheckpointError, SuiteError) as error:
            refused[name] = error
    if not refused:
        return taken
    first = next(iter(refused.values()))
    if len(arguments) == 1:
        raise first
    refused |= unfit(taken) if taken else {}
    taken = {name: each for name, each in taken.items() if name not in refused}
    lines = [
        f"--lora: {len(refused)} of {len(arguments)} checkpoints cannot be gated, so nothing is rendered",
        *(f"  {'; '.join(map(str.strip, error.message.splitlines()))}" for error in refused.values()),
    ]
    # one for which nothing else is known would be refused once more
    unknown = next((error for error in refused.values() if not error.options), None)
    next_command, options = (unknown or first).next_command, {}
    if not taken and unknown is None:
        options = first.options | _for_each(refused, arguments)
        next_command = None
    # an ini file or PYTEST_ADDOPTS would name them again
    if taken and any(word.startswith("--lora=") for word in in_one_word(settings.typed)):
        kept = dict.fromkeys(f"--lora={arguments[name]}" for name in taken)
        next_command = settings.again(*kept, without=["--lora"])
    raise type(first)("\n".join(lines), next_command=next_command, options=options)


def _for_each(refused: Mapping[str, WanloraError], arguments: Mapping[str, str]) -> dict[str, Changed]:
    """What to give `--lora` in the place of each that is refused, where one of them is to be another."""
    if not any("--lora" in error.options for error in refused.values()):
        return {}
    meant = [error.options.get("--lora", arguments[name]) for name, error in refused.items()]
    return {"--lora": tuple(each for each in meant if isinstance(each, str))}


def _pairs_by_name(settings: Settings) -> bool:
    """Whether files are paired by their names: on a suite with two experts, or where all point to one."""
    if settings.suite is not None:
        try:
            named = suites.load(settings.suite, baselines=settings.baselines_dir, seeds=settings.seeds)
        except SuiteError:
            return False  # `load_suite` says what is wrong
        return named.model.experts is not None
    if not checkpoints.pairs_by_name(settings.lora):
        return False
    for each in checkpoints.asked(settings.lora, by_name=True):
        try:
            return suites.fits_experts(each.read("pair"))
        except CheckpointError:
            continue  # it is refused where all are read
    return True


def distinct(candidates: Iterable[Candidate], scenarios: Iterable[str]) -> tuple[Candidate, ...]:
    """Rename candidates until no two items of a run have the same id: `x` in `y-z` and `x-y` in `z`.

    Args:
        candidates: In their order; the first of two keeps its name.
        scenarios: Ids of what is rendered.
    """
    places = (*scenarios, ALL)
    taken: set[str] = set()
    found = []
    for each in candidates:
        names = chain([each.name], (f"{each.name}-{number}" for number in count(2)))
        # a place is empty for the item on the file itself, which has no scenario in its id
        ids = ((name, {f"{name}-{place}" for place in ("", *places)}) for name in names)
        name, own = next((name, own) for name, own in ids if taken.isdisjoint(own))
        taken |= own
        found.append(replace(each, name=name))
    return tuple(found)


def demanded(
    settings: Settings, suite: Suite, scenarios: Sequence[Scenario], candidate: Candidate
) -> tuple[ItemId, ...]:
    """Everything that the suite demands of one candidate, of the scenarios that are rendered.

    The model without LoRA is only measured; a run that stores baselines compares nothing.
    """
    if candidate.checkpoint is None:
        return ()
    ids = tuple(scenario.id for scenario in scenarios)
    found = [ItemId("checkpoint", candidate.name, "", ""), *limit_items(suite, ids, candidate.name)]
    if not settings.update_baselines:
        if any(METRICS[metric].level == "video" for metric in suite.tolerances):
            found += [ItemId("videos", candidate.name, place, "") for place in ids]
        found += [
            ItemId("regression", candidate.name, place, metric)
            for place in (*ids, ALL)
            for metric in METRICS
            if metric in suite.tolerances
        ]
        asked = questions.asked(suite, scenarios)
        found += [ItemId("question", candidate.name, place, metric) for place, metric in asked]
    return tuple(found)


def limit_items(suite: Suite, scenarios: Sequence[str], name: str) -> tuple[ItemId, ...]:
    """The absolute limits of a suite, for one candidate and the scenarios that are rendered."""
    found = [
        ItemId("limit", name, place, limit.metric)
        for limit in suite.limits
        for place in {"all": (ALL,), "each": scenarios}.get(limit.scenario, (limit.scenario,))
        if place == ALL or place in scenarios
    ]
    # two limits may bound the same metric in the same place, from either side
    return tuple(dict.fromkeys(found))
