"""The text of a new suite: a packaged suite with its comments, another name and other scenarios."""

from __future__ import annotations

import json
import re
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from pytest_wanlora.errors import SettingsError, SuiteError
from pytest_wanlora.new_project.scenarios import NewScenario
from pytest_wanlora.suite import Suite, load, packaged
from pytest_wanlora.suite.document import KeyPath, read

REFERENCE: Final = "baselines:reference.safetensors"
"""Where `python -m pytest_wanlora reference` writes by default: the suite's folder of the baselines."""

_DOCS: Final = "https://github.com/pytest-wanlora/pytest-wanlora/blob/main/docs"
_WIDTH: Final = 110
#: Texts that are the same in YAML without quotes.
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:[ ,.()'-]+[A-Za-z0-9_]+)*[.)]?")
_WORDS_OF_YAML: Final = frozenset({"null", "true", "false"})


def compose(model: str, name: str, scenarios: Sequence[NewScenario]) -> str:
    """Write a suite's text."""
    path = packaged()[model]
    document = read(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    reference: KeyPath = ("scoring", "reference")
    replaced = {
        document.lines[("name",)]: [f"name: {name}"],
        document.lines[reference]: [
            f"  reference: {REFERENCE}   # made by: python -m pytest_wanlora reference"
        ],
    }
    # the digest of the packaged reference set is not that of the new one
    if (digest := document.lines.get((*reference[:1], "reference_sha256"))) is not None:
        replaced[digest] = []
    first = document.lines[("scenarios",)]
    after = min(
        (at for key, at in document.lines.items() if len(key) == 1 and at > first), default=len(lines) + 1
    )
    replaced[first] = list(_scenario_lines(scenarios))
    replaced |= {at: [] for at in range(first + 1, after)}
    kept = (line for at, old in enumerate(lines, start=1) for line in replaced.get(at, [old]))
    return "\n".join([*_header(model, name), *kept]) + "\n"


def load_text(text: str, path: Path, *, baselines: Path) -> Suite:
    """Load a suite that is not written yet."""
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / path.name
        written.write_text(text, encoding="utf-8")
        try:
            return load(written, baselines=baselines)
        except SuiteError as error:
            message = error.message.replace(str(written), str(path))
            raise SettingsError(
                f"the suite would be refused, so nothing was written\n{message}",
                next_command="python -m pytest_wanlora init --help",
            ) from error


def _header(model: str, name: str) -> Iterator[str]:
    yield f"# The suite {name}: your prompts on the model, sampling, scorers, limits and seeds of {model}."
    yield "# Written once by `python -m pytest_wanlora init`; it is yours to edit."
    yield f"# Every key is explained in {_DOCS}/suites.md"
    yield "#"
    yield "# Scenarios, model, sampling and scoring belong to the stored baseline: after a change of one of"
    yield "# them measure it again: pytest --update-baselines. Limits and tolerances can change without that."
    yield "#"
    yield f"# What follows is the packaged suite {model} with its comments."


def _scenario_lines(scenarios: Iterable[NewScenario]) -> Iterator[str]:
    yield "# `category` is the folder of a scenario's reference videos, and its share of the training data is"
    yield "# counted. `caption` is what CLIP compares its videos with: short, English, without trigger words."
    yield "scenarios:"
    for each in scenarios:
        yield f"  - id: {_scalar(each.id)}"
        yield f"    category: {_scalar(each.category)}"
        yield from _text_lines("prompt", each.prompt)
        if each.caption is not None:
            yield from _text_lines("caption", each.caption)
        if each.input_image is not None:
            # a path is one word, which is never wrapped
            yield f"    input_image: {_scalar(each.input_image)}"
            yield f"    input_image_sha256: {each.input_image_sha256}"


def _text_lines(key: str, text: str) -> Iterator[str]:
    line = f"    {key}: {_scalar(text)}"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"    {key}: >-"
    indent = " " * 6
    yield from textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    return json.dumps(text, ensure_ascii=False)
