"""First frames of a new suite's prompts: which ones are given, and which are still to be named."""

from __future__ import annotations

import importlib.resources
import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from pytest_wanlora.errors import SettingsError, SuiteError
from pytest_wanlora.files import expand_home, file_sha256
from pytest_wanlora.new_project.scenarios import NewScenario
from pytest_wanlora.suite import Suite
from pytest_wanlora.suite.files import inside_package
from pytest_wanlora.suite.pictures import read_picture

_PACKAGE: Final = "package:"


def are_needed(suite: Suite) -> bool:
    """Whether a packaged suite renders from first frames: a new one of it is to do the same."""
    return all(each.input_image is not None for each in suite.scenarios)


def with_first_frame(scenario: NewScenario, text: str, suite: Suite, folder: Path) -> NewScenario:
    """Return the scenario with a first frame, pinned.

    Args:
        scenario: It gets the frame.
        text: A path from here, or `package:FILE`.
        suite: Of its videos the picture must have the ratio.
        folder: Below which `suites/NAME.yaml` will lie, from where the suite names the file.

    Raises:
        SettingsError: It cannot be read, or the model would be shown something else than a viewer shows.
    """
    try:
        path = inside_package(text) if text.startswith(_PACKAGE) else expand_home(text).absolute()
        read_picture(path, (suite.sampling.width, suite.sampling.height))
    except (SuiteError, ValueError) as error:
        said = error.message if isinstance(error, SuiteError) else f"{text}: {error}"
        command = error.next_command if isinstance(error, SuiteError) else None
        raise SettingsError(f"--input-image: {scenario.id}: {said}", next_command=command) from error
    if not text.startswith(_PACKAGE):
        below = path.resolve().is_relative_to(folder.resolve())
        text = os.path.relpath(path.resolve(), (folder / "suites").resolve()) if below else str(path)
    return replace(scenario, input_image=text, input_image_sha256=file_sha256(path))


def with_first_frames(
    scenarios: Sequence[NewScenario], given: Mapping[str, str], suite: Suite, folder: Path
) -> list[NewScenario]:
    """Give scenarios the first frames that were named by their ids; see `with_first_frame`."""
    return [
        with_first_frame(each, given[each.id], suite, folder) if each.id in given else each
        for each in scenarios
    ]


def examples(scenarios: Sequence[NewScenario], suite: Suite) -> list[str]:
    """Options that give scenarios the pictures of a packaged suite, which only try the model out."""
    root = Path(str(importlib.resources.files("pytest_wanlora")))
    own = [
        f"{_PACKAGE}{Path(str(each.input_image)).relative_to(root).as_posix()}" for each in suite.scenarios
    ]
    pairs = zip(scenarios, itertools.cycle(own), strict=False)
    return [word for each, text in pairs for word in ("--input-image", f"{each.id}={text}")]
