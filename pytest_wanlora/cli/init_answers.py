"""What `init` makes its files from: options, and answers to questions where there is a terminal."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_wanlora import suite as suites
from pytest_wanlora.cli.output import complain, say
from pytest_wanlora.cli.terminal import Terminal
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.files import expand_home
from pytest_wanlora.new_project import ci_files, metadata, scenarios
from pytest_wanlora.new_project.scenarios import NewScenario

if TYPE_CHECKING:
    from pytest_wanlora.new_project.metadata import Training

NO_CI: Final = "none"
_VIDEOS: Final = "reference-videos"
_LORA: Final = "FILE.safetensors"
_USUAL_MODEL: Final = "wan2.2-ti2v-5b"
_USUAL_NAME: Final = "my-lora"


@dataclass(frozen=True, kw_only=True)
class Answers:
    """All that the files are made from; paths start in the folder.

    Attributes:
        scenarios: Checked, in their order.
        training: The training metadata, counted with the scenarios' categories; None if none was named.
        lora: Checkpoint of the printed gate command.
        ci: `github`, `gitlab` or `none`.
    """

    folder: Path
    model: str
    name: str
    scenarios: Sequence[NewScenario]
    training: Training | None
    videos: Path
    lora: str
    ci: str


def collect(arguments: argparse.Namespace, terminal: Terminal | None) -> Answers:
    """Take the options of `init`, and ask for what they leave out; nothing is asked without a terminal."""
    given = [scenarios.parse_prompt(text) for text in arguments.prompt]
    if arguments.prompts is not None:
        given += scenarios.read_file(arguments.prompts)
    if terminal is None:
        _require(arguments, given)
    ask = _Asker(arguments, terminal)
    model = ask("model", _model, "Packaged suite to start from", _USUAL_MODEL)
    name = ask("name", _name, "Name of the new suite", _usual_name(arguments.folder))
    clip = suites.load(model).scoring.clip
    path = arguments.training_data
    if path is None and terminal is not None:
        path = terminal.ask("Training metadata: .csv, .json or .jsonl (Enter for none)", _optional_file)
    training = None if path is None else metadata.read(path)
    if training is not None and terminal is not None:
        say([f"  {training.summary()}"])
    if not given and terminal is not None:
        given = _ask_scenarios(terminal, clip)
    given = scenarios.with_captions(given, map(scenarios.parse_caption, arguments.caption))
    trigger = arguments.trigger
    if trigger is None and terminal is not None and training is not None:
        trigger = _ask_trigger(terminal, training, given)
    if trigger:
        given = [each.with_trigger(scenarios.plain(trigger)) for each in given]
    _refuse(scenarios.check(given, clip))
    if training is not None:
        training = metadata.read(training.path, [each.category for each in given])
    if terminal is None and arguments.ci is None:
        arguments.ci = NO_CI
    ci = ask("ci", _ci, f"CI file: {', '.join(ci_files.PATHS)} or {NO_CI}", NO_CI)
    if ci != NO_CI:
        _refuse_below_root(ci, arguments.folder)
    return Answers(
        folder=arguments.folder,
        model=model,
        name=name,
        scenarios=given,
        training=training,
        videos=Path(_VIDEOS) if arguments.videos is None else within(arguments.folder, arguments.videos),
        lora=_LORA if arguments.lora is None else str(within(arguments.folder, Path(arguments.lora))),
        ci=ci,
    )


def within(folder: Path, path: Path) -> Path:
    """Return a path as it is written in a folder: relative to it if it is inside, else absolute."""
    # not `resolve`: a link inside the folder stays relative
    target = Path(os.path.normpath(_at_home(path).absolute()))
    start = Path(os.path.normpath(folder.absolute()))
    return target.relative_to(start) if target.is_relative_to(start) else target


def _at_home(path: Path | str) -> Path:
    try:
        return expand_home(path)
    except ValueError as error:
        raise SettingsError(f"{path}: {error}; allowed: a path") from error


def _require(arguments: argparse.Namespace, given: Sequence[NewScenario]) -> None:
    needed = (
        (f"--model NAME       allowed: {', '.join(suites.packaged())}", arguments.model),
        ("--name NAME        the name of the new suite", arguments.name),
        ("--prompt 'ID=CATEGORY: TEXT'   one for each prompt, or --prompts FILE", given),
    )
    missing = [f"  {words}" for words, value in needed if not value]
    if missing:
        reason = "--yes is given" if arguments.yes else "standard input is no terminal"
        raise SettingsError(
            "\n".join([f"init: nobody can be asked ({reason}), and these options are missing:", *missing]),
            next_command=(
                f"python -m pytest_wanlora init --model {_USUAL_MODEL} --name {_USUAL_NAME} "
                "--prompt 'test1_street=urban: a street in Seoul at night'"
            ),
        )


class _Asker:
    """Reads options, and asks for those that are missing."""

    def __init__(self, arguments: argparse.Namespace, terminal: Terminal | None) -> None:
        self._given = vars(arguments)
        self._terminal = terminal

    def __call__(self, option: str, read: Callable[[str], str], question: str, default: str) -> str:
        given = self._given[option]
        if given is None and self._terminal is not None:
            return self._terminal.ask(question, read, default)
        try:
            return read(given)
        except SettingsError as error:
            options = {f"--{option}": default} if default else None
            raise SettingsError(f"--{option}: {error.message}", options=options) from error


def _ask_scenarios(terminal: Terminal, clip: suites.ClipScorer) -> list[NewScenario]:
    from pytest_wanlora.training_data.categories import Categorizer
    from pytest_wanlora.training_data.rules import packaged_rules

    categorizer = Categorizer(packaged_rules())
    found: list[NewScenario] = []
    while True:
        number = len(found) + 1
        text = terminal.ask(
            f"Prompt {number}" + (" (Enter for no more)" if found else ""),
            scenarios.plain if found else _some_text,
        )
        if not text:
            return found
        category = terminal.ask("  category", _some_text, categorizer.decide(text).category)
        # an id has fewer letters than a category
        usual = (
            f"test{number}_{category}" if category.isidentifier() and category.isascii() else f"test{number}"
        )
        identifier = terminal.ask("  id", _some_text, usual)
        draft = NewScenario(identifier, category, text)
        problems = scenarios.check([*found, draft], clip)
        if problems:
            complain("\n".join(problems))
            if not scenarios.lacks_caption(draft, clip):
                continue
            draft = _ask_caption(terminal, draft, found, clip)
        found.append(draft)


def _ask_caption(
    terminal: Terminal, draft: NewScenario, others: Sequence[NewScenario], clip: suites.ClipScorer
) -> NewScenario:
    def read(text: str) -> NewScenario:
        scenario = replace(draft, caption=_some_text(text))
        _refuse(scenarios.check([*others, scenario], clip))
        return scenario

    return terminal.ask("  caption", read)


def _ask_trigger(terminal: Terminal, training: Training, given: Iterable[NewScenario]) -> str | None:
    lacking = [
        each.id
        for each in given
        if training.opening and training.opening.casefold() not in each.prompt.casefold()
    ]
    if not lacking:
        return None
    question = f"{', '.join(lacking)}: put {training.opening!r} in front, as in the training?"
    return training.opening if terminal.agrees(question, default=False) else None


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise SettingsError("\n".join(problems))


def _model(text: str) -> str:
    known = suites.packaged()
    if text not in known:
        raise SettingsError(f"{text!r} is no packaged suite; allowed: {', '.join(known)}")
    return text


def _name(text: str) -> str:
    if not scenarios.is_name(text) or text.endswith((".yaml", ".yml")):
        raise SettingsError(
            f"{text!r} is not allowed; allowed: up to 64 letters, digits, _ . -, and no . or - in front"
        )
    if text in suites.packaged():
        raise SettingsError(f"{text!r} is the name of a packaged suite; allowed: any other name")
    return text


def _usual_name(folder: Path) -> str:
    try:
        return _name(folder.resolve().name)
    except SettingsError:
        return _USUAL_NAME


def _ci(text: str) -> str:
    allowed = (*ci_files.PATHS, NO_CI)
    if text not in allowed:
        raise SettingsError(f"{text!r} is not allowed; allowed: {', '.join(allowed)}")
    return text


def _some_text(text: str) -> str:
    if not (found := scenarios.plain(text)):
        raise SettingsError("nothing was typed; allowed: a text")
    return found


def _optional_file(text: str) -> Path | None:
    if not text:
        return None
    path = _at_home(text)
    if not path.is_file():
        raise SettingsError(f"{path}: no such file; allowed: a file, or Enter for none")
    return path


def _refuse_below_root(ci: str, folder: Path) -> None:
    """CI systems read their files in the root of a repository only."""
    here = folder.resolve()
    root = next((each for each in (here, *here.parents) if (each / ".git").exists()), here)
    if root != here:
        raise SettingsError(
            f"--ci: {ci} reads {ci_files.PATHS[ci]} in the root of the repository only, which is {root}; "
            f"init writes into {here}; allowed: --folder {root}, or --ci {NO_CI}",
            options={"--folder": str(root)},
        )
