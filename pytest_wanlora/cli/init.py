"""`init`: write the files of a new gate."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_wanlora.cli.output import OK, say
from pytest_wanlora.errors import SettingsError
from pytest_wanlora.phrases import number_of
from pytest_wanlora.suite import packaged

if TYPE_CHECKING:
    from pytest_wanlora.cli.init_answers import Answers
    from pytest_wanlora.new_project.changes import Change
    from pytest_wanlora.suite import Suite

_BASELINES: Final = "baselines"
_RESULTS: Final = ".wanlora"
_MODELS: Final = "models"  # where DiffSynth puts what it downloads
_COMMAND: Final = "python -m pytest_wanlora init"


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "init",
        help="write a suite with your prompts, pytest's settings and a CI file",
        description=(
            "Writes suites/NAME.yaml from a packaged suite, the keys wanlora_* into pytest's settings and, "
            "on request, a CI file; then prints the next three commands. On a terminal it asks for what the "
            "options leave out. It replaces no file."
        ),
    )
    parser.add_argument(
        "--model", metavar="NAME", help=f"packaged suite to start from: {', '.join(packaged())}"
    )
    parser.add_argument("--name", help="name of the new suite")
    parser.add_argument(
        "--prompt",
        action="append",
        default=[],
        metavar="'ID=CATEGORY: TEXT'",
        help="one prompt; repeat it for more. Its category is the name of a folder of reference videos",
    )
    parser.add_argument(
        "--caption",
        action="append",
        default=[],
        metavar="'ID=TEXT'",
        help="what CLIP compares a prompt's videos with, a short English sentence; default: the prompt",
    )
    parser.add_argument(
        "--input-image",
        action="append",
        default=[],
        metavar="'ID=FILE'",
        help="first frame of a prompt's videos, for image-to-video: one for each prompt",
    )
    parser.add_argument(
        "--prompts",
        type=Path,
        metavar="FILE",
        help="prompts in a YAML file: the key scenarios, as in a suite",
    )
    parser.add_argument(
        "--training-data", type=Path, metavar="PATH", help="captions of the training, a file or a folder"
    )
    parser.add_argument(
        "--trigger", metavar="TEXT", help="words to put in front of every prompt that lacks them"
    )
    parser.add_argument(
        "--videos", type=Path, metavar="FOLDER", help="your reference videos; default: reference-videos"
    )
    parser.add_argument(
        "--lora",
        metavar="FILE|FOLDER|GLOB|high=FILE,low=FILE",
        help="checkpoint for the printed gate command",
    )
    parser.add_argument("--ci", metavar="github|gitlab|none", help="CI file to write; default: none")
    parser.add_argument(
        "--folder", type=Path, default=Path(), metavar="FOLDER", help="where to write; default: here"
    )
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    parser.set_defaults(run_command=_run)


def _run(arguments: argparse.Namespace) -> int:
    # not above: `verify` runs where little more than Python is installed
    from pytest_wanlora.cli.init_answers import collect
    from pytest_wanlora.cli.terminal import Terminal
    from pytest_wanlora.new_project import changes

    # standard input is None where the process was started without one
    asks = not arguments.yes and sys.stdin is not None and sys.stdin.isatty()
    terminal = Terminal(_COMMAND) if asks else None
    answers = collect(arguments, terminal)
    suite, planned = _plan(answers)
    changes.refuse_existing(planned)
    if terminal is not None:
        say(_listed(planned, "will write", "will add to"))
        if not terminal.agrees("Write them?", default=True):
            raise SettingsError("nothing was written", next_command=_COMMAND)
    changes.write(planned)
    say(_listed(planned, "wrote", "added to"))
    say(_notes(answers))
    say(_next(answers, suite))
    return OK


def _plan(answers: Answers) -> tuple[Suite, list[Change]]:
    from pytest_wanlora.cli.init_answers import NO_CI, within
    from pytest_wanlora.new_project import ci_files, ini_files, suite_file
    from pytest_wanlora.new_project.changes import Change

    folder = answers.folder
    path = _suite_file(answers)
    text = suite_file.compose(answers.model, answers.name, answers.scenarios)
    suite = suite_file.load_text(text, folder / path, baselines=folder / _BASELINES)
    keys = {"wanlora_suite": path.as_posix(), "wanlora_baselines_dir": _BASELINES}
    if answers.training is not None:
        keys["wanlora_training_data"] = within(folder, answers.training.path).as_posix()
    planned = [Change(folder / path, text.encode("utf-8")), ini_files.extend(folder, keys)]
    if answers.ci != NO_CI:
        text = ci_files.compose(answers.ci, suite)
        planned.append(Change(folder / ci_files.PATHS[answers.ci], text.encode("utf-8")))
    return suite, [*planned, *_ignored(folder, suite)]


def _ignored(folder: Path, suite: Suite) -> Iterator[Change]:
    """Keep results, videos and tens of gigabytes of weights out of the repository."""
    from pytest_wanlora.new_project.changes import Change
    from pytest_wanlora.suite import references

    path = folder / ".gitignore"
    before = path.read_bytes() if path.is_file() else None
    start = before or b""
    known = {line.strip().strip("/") for line in start.decode("utf-8", errors="replace").splitlines()}
    wanted = [_RESULTS]
    # a folder that is there already may hold something else
    if any(text.startswith("hub:") for _, text in references(suite)) and not (folder / _MODELS).exists():
        wanted.append(_MODELS)
    if added := "".join(f"/{name}/\n" for name in wanted if name not in known):
        gap = b"" if not start or start.endswith(b"\n") else b"\n"
        yield Change(path, start + gap + added.encode(), before)


def _suite_file(answers: Answers) -> Path:
    return Path("suites", f"{answers.name}.yaml")


def _listed(planned: Sequence[Change], new: str, old: str) -> Iterator[str]:
    yield from (f"{new if each.before is None else old} {each.path}" for each in planned)


def _notes(answers: Answers) -> Iterator[str]:
    from pytest_wanlora.cli.init_answers import NO_CI, within

    training = answers.training
    if training is None:
        return
    yield training.summary()
    if (path := within(answers.folder, training.path)).is_absolute():
        ci = "" if answers.ci == NO_CI else ", such as that of the CI job,"
        yield (
            f"note: {path} lies outside of {answers.folder.resolve()}, and pytest's settings name it by "
            f"that path: another machine{ci} does not have it, and refuses to run; copy it into the folder, "
            "or take wanlora_training_data out there"
        )
    for category in dict.fromkeys(each.category for each in answers.scenarios):
        if category not in training.shares:
            yield f"note: no word list has {category!r}; add `categories` to the suite to count it"
        elif not training.shares[category]:
            yield f"note: no training prompt is of the category {category!r}"
    if (opening := training.opening) is not None:
        lacking = [each.id for each in answers.scenarios if opening.casefold() not in each.prompt.casefold()]
        if lacking:
            yield (
                f"note: {training.opening_share:.0%} of the training prompts begin with {opening!r}, and "
                f"{', '.join(lacking)} without it; if it is a trigger, write it into {_suite_file(answers)}"
            )


def _next(answers: Answers, suite: Suite) -> Iterator[str]:
    from pytest_wanlora.cli.reference import RECOMMENDED

    quoted = shlex.quote
    reference = ["--suite", _suite_file(answers).as_posix(), "--videos", str(answers.videos)]
    folders = [
        str(answers.videos / name) for name in dict.fromkeys(each.category for each in answers.scenarios)
    ]
    count = len(suite.scenarios) * (suite.seeds.baseline or suite.seeds.most)
    yield ""
    yield f"Next, from {answers.folder.resolve()}:"
    if not answers.folder.samefile(Path.cwd()):
        yield f"  cd {quoted(str(answers.folder))}"
    yield f"  # the reference set, of real videos in {', '.join(folders)}: {RECOMMENDED} or more in each"
    yield f"  python -m pytest_wanlora reference {' '.join(map(quoted, reference))}"
    yield f"  # the baseline: {number_of(count, 'video')} of the model without a LoRA"
    yield "  pytest --update-baselines"
    yield "  # the gate"
    yield f"  pytest --lora {quoted(answers.lora)}"
