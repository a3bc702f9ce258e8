"""What the commands of `data` read, from their options."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Final

from pytest_wanlora.errors import DataError
from pytest_wanlora.files import listing
from pytest_wanlora.training_data.clip_similarity import ClipTextSimilarity, TextSimilarity
from pytest_wanlora.training_data.rules import Rules, from_file, of_suite, packaged_rules
from pytest_wanlora.training_data.survey import Progress, Source, Survey, take

if TYPE_CHECKING:
    from pytest_wanlora.suite import Suite

#: Endings of what says itself where its clips are.
_OWN_BASE: Final = (".toml", ".yaml", ".yml", ".zip")


def suite_of(arguments: argparse.Namespace) -> Suite | None:
    """The suite that was named, if one was."""
    if arguments.suite is None:
        return None
    # pydantic takes a while to import; without a suite nothing needs it
    from pytest_wanlora import suite as suites

    return suites.load(arguments.suite)


def rules_of(arguments: argparse.Namespace, suite: Suite | None) -> Rules:
    """The word lists of the options."""
    rules = packaged_rules() if arguments.categories is None else from_file(arguments.categories)
    return rules if suite is None else of_suite(suite, rules)


def similarity_of(arguments: argparse.Namespace, suite: Suite | None) -> TextSimilarity | None:
    """What asks CLIP, if that is wanted."""
    if not arguments.clip:
        if arguments.device is not None:
            raise DataError("--device: said only of CLIP, which --clip asks", options={"--device": False})
        return None
    if suite is None:
        raise DataError(
            "--clip needs a suite, whose CLIP model it asks; allowed: the name of one, or its file",
            options={"--suite": "wan2.2-ti2v-5b"},
        )
    return ClipTextSimilarity(suite.scoring.clip, device=arguments.device or "cpu")


def source_of(arguments: argparse.Namespace, *, check_videos: bool, near: bool) -> Source:
    """The rows to read.

    Raises:
        DataError: The options say what the rows cannot have.
    """
    if check_videos and arguments.base is not None and not arguments.base.is_dir():
        raise DataError(f"--base: there is no folder {arguments.base}", next_command=listing(arguments.base))
    own = arguments.metadata.is_dir() or arguments.metadata.suffix.lower() in _OWN_BASE
    if arguments.base is not None and own:
        raise DataError(
            f"--base: {arguments.metadata} says itself where its clips are; allowed with a table",
            options={"--base": False},
        )
    if any(not trigger.strip() for trigger in arguments.trigger or ()):
        raise DataError("--trigger: it is empty; allowed: a text", options={"--trigger": False})
    return Source(
        path=arguments.metadata,
        base=arguments.base,
        prompt_column=arguments.prompt_column,
        video_column=arguments.video_column,
        check_videos=check_videos,
        near=near,
        triggers=tuple(arguments.trigger or ()),
    )


def survey_of(
    arguments: argparse.Namespace, suite: Suite | None, *, check_videos: bool, near: bool = True
) -> Survey:
    """All rows, read once."""
    return take(
        source_of(arguments, check_videos=check_videos, near=near),
        rules_of(arguments, suite),
        similarity=similarity_of(arguments, suite),
        progress=progress("rows"),
    )


def count(text: str) -> int:
    """A whole number from 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, such as 1000") from None


def threshold(text: str) -> float:
    """A number above 0 and up to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0 and up to 1")
    return value


def progress(what: str) -> Progress | None:
    """Shows how far a pass is, on a terminal."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, share: float) -> None:
        end = "\n" if share >= 1 else ""
        sys.stderr.write(f"\r{done:,} {what}, {100 * share:.0f} %{end}")
        sys.stderr.flush()

    return show
