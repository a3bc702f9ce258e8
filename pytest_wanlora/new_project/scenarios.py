"""Scenarios of a new suite: from options or a file, checked before anything is written."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pytest_wanlora.errors import SettingsError, SuiteError
from pytest_wanlora.scoring.captions import too_long
from pytest_wanlora.suite import ClipScorer, resolve, unreadable_by_clip
from pytest_wanlora.suite.checks import NAME
from pytest_wanlora.suite.document import quoted, read

CATEGORY: Final = re.compile(r"\w[\w .-]{0,63}")
"""Categories; each is the name of a folder of reference videos."""

_RESERVED_CATEGORY: Final = "all"
_RESERVED_IDS: Final = ("all", "each")
_PROMPT: Final = re.compile(r"\s*([^=\s]*)\s*=\s*([^:=]*?)\s*:(.*)", re.DOTALL)
_CAPTION: Final = re.compile(r"\s*([^=\s]*)\s*=(.*)", re.DOTALL)
#: What YAML forbids in a file; surrogates are the bytes of an argument that is not UTF-8.
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LONGEST_NAME: Final = 64
_KEYS: Final = ("id", "category", "prompt", "caption", "input_image")
_OPTIONAL: Final = ("caption", "input_image")
_FORM: Final = "'ID=CATEGORY: TEXT'"


@dataclass(frozen=True)
class NewScenario:
    """One prompt of the new suite.

    Attributes:
        id: Name in test ids, folders and reports.
        category: What kind of training data it stands for.
        caption: The text that CLIP compares the video with; None for the prompt itself.
        input_image: First frame, as the suite's file names it, or before that as a path from here; None for
            a video of the prompt alone.
        input_image_sha256: Of that file.
    """

    id: str
    category: str
    prompt: str
    caption: str | None = None
    input_image: str | None = None
    input_image_sha256: str = ""

    def with_trigger(self, trigger: str) -> NewScenario:
        """Return the scenario with trigger words in front of its prompt, unless they are in it.

        CLIP does not know the trigger, so it compares the video with the prompt as it was.
        """
        if trigger.casefold() in self.prompt.casefold():
            return self
        return replace(self, prompt=f"{trigger}, {self.prompt}", caption=self.caption or self.prompt)


def is_name(text: str) -> bool:
    """Whether a text can be the name of a suite or a scenario."""
    return len(text) <= _LONGEST_NAME and re.fullmatch(NAME, text) is not None


def plain(text: str) -> str:
    """Join a text's lines and its repeated spaces: a prompt is one line."""
    return " ".join(text.split())


def parse_prompt(text: str) -> NewScenario:
    """Read `ID=CATEGORY: TEXT`."""
    found = _PROMPT.fullmatch(text)
    if found is None:
        raise SettingsError(
            f"--prompt: {quoted(text)} is not allowed; allowed: {_FORM}",
            options={"--prompt": "test1_street=urban: a street in Seoul at night"},
        )
    return NewScenario(found[1], found[2], plain(found[3]))


def parse_caption(text: str) -> tuple[str, str]:
    """Read `ID=TEXT`."""
    identifier, caption = _parts("--caption", text, "test1_street=a street at night")
    return identifier, plain(caption)


def parse_input_image(text: str) -> tuple[str, str]:
    """Read `ID=FILE`."""
    identifier, path = _parts("--input-image", text, "test1_street=street.png")
    return identifier, path.strip()


def _parts(option: str, text: str, example: str) -> tuple[str, str]:
    found = _CAPTION.fullmatch(text)
    if found is None:
        form = "'ID=FILE'" if option == "--input-image" else "'ID=TEXT'"
        raise SettingsError(
            f"{option}: {quoted(text)} is not allowed; allowed: {form}", options={option: example}
        )
    return found[1], found[2]


def read_file(path: Path) -> list[NewScenario]:
    """Read a YAML file with the key `scenarios`, a list as in a suite.

    Raises:
        SettingsError: It is missing, is not YAML, or has other keys or values; names the line.
    """
    example = "scenarios: [{id: test1_street, category: urban, prompt: a street in Seoul at night}]"
    try:
        document = read(path)
    except SuiteError as error:
        raise SettingsError(
            f"--prompts: {error.message}; allowed: a file such as {example}", next_command=error.next_command
        ) from error
    wrong = [f"{path}:{problem.line}: {problem.key}: {problem.text}" for problem in document.problems]
    listed = document.data.get("scenarios")
    if not isinstance(listed, tuple) or not listed:
        wrong.append(f"{path}: scenarios is {quoted(listed)}; allowed: a list with one scenario or more")
        listed = ()
    found = []
    for number, item in enumerate(listed):
        place = f"{path}:{document.line_of(('scenarios', number))}"
        problem = _item_problem(item)
        if problem is not None:
            wrong.append(f"{place}: scenarios[{number}]: {problem}")
        else:
            found.append(_from_item(item, path.parent))
    if wrong:
        raise SettingsError(
            "\n".join(f"--prompts: {line}" for line in [*wrong, f"allowed: a file such as {example}"]),
            next_command=f"cat {shlex.quote(str(path))}",
        )
    return found


def with_captions(scenarios: Sequence[NewScenario], captions: Iterable[tuple[str, str]]) -> list[NewScenario]:
    """Give scenarios their captions.

    Raises:
        SettingsError: A caption of no scenario, or two of one.
    """
    given = by_id(scenarios, captions, option="--caption", example="a street at night")
    return [replace(each, caption=given.get(each.id, each.caption)) for each in scenarios]


def by_id(
    scenarios: Sequence[NewScenario], pairs: Iterable[tuple[str, str]], *, option: str, example: str
) -> dict[str, str]:
    """What an option gives scenarios, by their ids.

    Raises:
        SettingsError: One is of no scenario, or two are of one.
    """
    known = [scenario.id for scenario in scenarios]
    given: dict[str, str] = {}
    for identifier, text in pairs:
        if identifier not in known:
            raise SettingsError(
                f"{option}: {identifier!r} is no scenario; allowed: {', '.join(known) or 'none'}",
                options={option: f"{known[0]}={example}" if known else False},
            )
        if identifier in given:
            raise SettingsError(f"{option}: {identifier!r} has two; allowed: one", options={option: False})
        given[identifier] = text
    return given


def check(scenarios: Sequence[NewScenario], clip: ClipScorer) -> list[str]:
    """Say what is wrong with scenarios.

    Returns:
        One line for each problem, which names the scenario, the value and what is allowed.
    """
    problems = [problem for each in scenarios for problem in _own_problems(each)]
    counted = Counter(each.id.casefold() for each in scenarios)
    for identifier, count in counted.items():
        if count > 1:
            problems.append(
                f"id {identifier!r}: {count} scenarios have it; allowed: each id once, in any case"
            )
    # what a scenario lacks altogether is said once, not again for CLIP
    return problems or list(_clip_problems(scenarios, clip))


def lacks_caption(scenario: NewScenario, clip: ClipScorer) -> bool:
    """Whether all that is wrong with a scenario is that CLIP cannot read its prompt and it has no caption."""
    return (
        scenario.caption is None
        and not list(_own_problems(scenario))
        and bool(list(_clip_problems([scenario], clip)))
    )


def _own_problems(scenario: NewScenario) -> Iterator[str]:
    name = f"scenario {scenario.id!r}"
    if not is_name(scenario.id) or scenario.id in _RESERVED_IDS:
        yield (
            f"{name}: this id is not allowed; "
            "allowed: up to 64 letters, digits, _ . -, and not 'all' or 'each'"
        )
    if not CATEGORY.fullmatch(scenario.category) or scenario.category == _RESERVED_CATEGORY:
        yield (
            f"{name}: category {scenario.category!r} is not allowed; "
            "allowed: a name for a folder, of letters, digits, blanks, _ . -, and not 'all'"
        )
    for key, text in (("prompt", scenario.prompt), ("caption", scenario.caption)):
        if text is not None and not text:
            yield f"{name}: the {key} is empty; allowed: a text"
        elif text is not None and (found := _UNPRINTABLE.search(text)):
            yield f"{name}: the {key} has the character {found[0]!r}; allowed: printable text in UTF-8"


def _clip_problems(scenarios: Sequence[NewScenario], clip: ClipScorer) -> Iterator[str]:
    read_by_clip = {each.id: each.caption or each.prompt for each in scenarios}
    found = {name: reason for name, text in read_by_clip.items() if (reason := unreadable_by_clip(text))}
    config = resolve(clip.model, key="scoring.clip.model").paths[0] if clip.model_is_file else None
    for name, reason in too_long(read_by_clip, clip.model, config):
        found.setdefault(name, reason)
    for each in scenarios:
        if each.id not in found:
            continue
        if each.caption is None:
            yield (
                f"scenario {each.id!r}: the prompt {found[each.id]}, so CLIP needs a caption; "
                "allowed: a short English sentence of what the video shows, such as "
                f"--caption '{each.id}=a street at night'"
            )
        else:
            yield (
                f"scenario {each.id!r}: the caption {quoted(each.caption)} {found[each.id]}; "
                "allowed: a short English sentence"
            )


def _item_problem(item: object) -> str | None:
    if not isinstance(item, Mapping):
        return f"{quoted(item)}; allowed: a mapping with id, category, prompt, maybe caption and input_image"
    if unknown := [key for key in item if key not in _KEYS]:
        return f"unknown key {unknown[0]!r}; allowed: {', '.join(_KEYS)}"
    for key in _KEYS:
        value = item.get(key)
        if value is None and key in _OPTIONAL:
            continue
        if not isinstance(value, str):
            return f"{key} is {quoted(value)}; allowed: text, in quotes if it looks like a number"
    return None


def _from_item(item: Any, folder: Path) -> NewScenario:  # noqa: ANN401 - checked by `_item_problem`
    caption, image = item.get("caption"), item.get("input_image")
    if image is not None and not image.startswith(("package:", "~")):
        image = str(folder / image)
    return NewScenario(
        item["id"],
        item["category"].strip(),
        plain(item["prompt"]),
        None if caption is None else plain(caption),
        image,
    )
