"""Loading a suite, and choosing the one that a checkpoint fits."""

from __future__ import annotations

import difflib
import importlib.resources
import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from pytest_wanlora.errors import SuiteError
from pytest_wanlora.files import from_here
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite import checks, document, model_checks
from pytest_wanlora.suite.models import added_models
from pytest_wanlora.suite.schema import Suite
from pytest_wanlora.suite.subject import TRIGGER, WITH_TRIGGER, Bleed, filled


def packaged() -> dict[str, Path]:
    """Return the suites that come with the package, then those of installed models, by name.

    Those in the folder `named` are never chosen by the shapes of a checkpoint, only by their name.
    """
    folder = Path(str(importlib.resources.files("pytest_wanlora"))) / "suites"
    own = {path.stem: path for path in (*sorted(folder.glob("*.yaml")), *sorted(folder.glob("named/*.yaml")))}
    added = {name: each.value.suite for name, each in added_models().items()}
    if taken := own.keys() & added.keys():
        raise added_models()[min(taken)].wrong("a packaged suite has this name")
    return own | {name: path for name, path in added.items() if path is not None}


def load(
    source: str | Path, *, baselines: Path = Path("baselines"), seeds: tuple[int, int] | None = None
) -> Suite:
    """Load a suite.

    Args:
        source: A packaged suite's name, or a path.
        baselines: The baselines directory, for references of the form `baselines:FILE`.
        seeds: Videos at the first and the last look, in the place of the file's; the caller then checks
            `gated_set`.

    Raises:
        SuiteError: The file is missing or wrong; names file, line, key, value and what is allowed, for up to
            20 errors at once. That files named in the suite exist is not checked here.

    Example:
        >>> load("tiny").model.architecture.blocks
        6
    """
    path = _located(source)
    read = document.read(path)
    given = read.data.get("name", path.stem)
    name = given if isinstance(given, str) else path.stem
    context = {"folder": path.absolute().parent, "baselines": baselines.absolute() / name}
    complaints = [*checks.across(read.data), *model_checks.across(read.data)]
    for key in {"path", "sha256"} & read.data.keys():
        complaints.append(((key,), checks.unknown("key", key, checks.keys(Suite))))
    data = {**read.data, "name": given, "path": path, "sha256": read.sha256}
    try:
        suite = Suite.model_validate(data, context=context)
    except ValidationError as error:
        complaints += checks.translated(error.errors(include_url=False), Suite)
    else:
        if seeds is not None:
            of = suite.seeds.model_copy(update={"first": seeds[0], "most": seeds[1], "baseline": None})
            suite = suite.model_copy(update={"seeds": of})
        elif (found := gated_set(suite, suite.seeds.first)) is not None:
            metric, key = found
            text = (
                f"1: the suite gates {metric} ({key}), a distance of 2 or more videos; "
                f"allowed: 2 or more; or '{metric}: off' under tolerances and no limit on it"
            )
            complaints.append((("seeds", "first"), text))
    named = {path for path, _ in complaints}
    complaints += [each for each in checks.without_value(dict(read.data)) if each[0] not in named]
    if complaints or read.problems:
        problems = [
            document.Problem(read.line_of(key), document.dotted(key), text) for key, text in complaints
        ]
        raise document.rejection(path, [*read.problems, *problems])
    return _triads(suite).at_lines({document.dotted(key): line for key, line in read.lines.items()})


def gated_set(suite: Suite, count: int, scenarios: Sequence[str] | None = None) -> tuple[str, str] | None:
    """Return what is gated and cannot be measured, because it is a distance of a set and one video is none.

    From two videos on every such item can be judged: by its band alone, from three on by evidence too.

    Returns:
        A metric and the dotted key that gates it; None where all can be measured.
    """
    if count > 1:
        return None
    rendered = [scenario.id for scenario in suite.scenarios] if scenarios is None else list(scenarios)
    for metric in suite.tolerances:
        if METRICS[metric].level == "set":
            return metric, f"tolerances.{metric}"
    for number, limit in enumerate(suite.limits):
        alone = limit.scenario in ("each", *rendered) or (limit.scenario == "all" and len(rendered) == 1)
        if METRICS[limit.metric].level == "set" and alone:
            return limit.metric, f"limits[{number}]"
    return None


def option_value(suite: Suite) -> str:
    """What to give `--wanlora-suite` to get a suite: a packaged one's name, else its file's path, quoted."""
    if packaged().get(suite.name) == suite.path:
        return suite.name
    here = Path.cwd()
    near = suite.path.is_absolute() and suite.path.is_relative_to(here)
    return shlex.quote(from_here(suite.path) if near else str(suite.path))


def _triads(suite: Suite) -> Suite:
    """The suite with the prompts that baseline and candidate are compared by, which lack the trigger."""
    subject = suite.subject
    if subject is None:
        return suite

    def without(text: str | None) -> str | None:
        return None if text is None else filled(text, subject.without)

    plain = [
        each.model_copy(update={"prompt": without(each.prompt), "caption": without(each.caption)})
        for each in suite.scenarios
    ]
    triggered = {
        each.id: each.model_copy(
            update={
                "id": each.id + WITH_TRIGGER,
                "prompt": filled(each.prompt, subject.trigger),
                # CLIP does not know the trigger
                "caption": without(each.clip_caption),
            }
        )
        for each in suite.scenarios
        if TRIGGER in each.prompt
    }
    # a LoRA that shows its subject without its trigger leaks it
    asks = suite if suite.bleed is not None else suite.model_copy(update={"bleed": Bleed()})
    return asks.compared_by(plain, triggered)


def _located(source: str | Path) -> Path:
    known = packaged()
    if isinstance(source, str) and source in known:
        return known[source]
    path = Path(source)
    if not os.path.lexists(path) and path.suffix not in (".yaml", ".yml"):
        # where a project has its own
        places = [place for place in ("suites/*.yaml", "*.yaml") if next(Path().glob(place), None)]
        own = {each.stem: str(each) for place in places for each in sorted(Path().glob(place))}
        meant = own | {name: name for name in known}
        near = difflib.get_close_matches(str(source), meant, n=1)
        hint = f"did you mean {meant[near[0]]}? " if near else ""
        raise SuiteError(
            f"{source}: no such suite; {hint}allowed: {', '.join(known)}, or the path of a .yaml file",
            # without a suite it looks at each packaged one
            next_command=f"ls {' '.join(places)}" if places else "python -m pytest_wanlora doctor",
        )
    return path
