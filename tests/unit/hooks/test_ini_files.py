"""When a run is started again: whenever pytest took a value of ours for the path of a test, and only then."""

from __future__ import annotations

import importlib
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_wanlora.options import OPTIONS, in_one_word, in_two_words

GATE = "[pytest]\nwanlora_suite = own.yaml\n"
VALUED = ("lora", *(option.name for option in OPTIONS if option.metavar is not None))
# the options, and the question that the plugin asks before conftest files are loaded
PLUGIN = """
from pytest_wanlora import options
from pytest_wanlora.hooks import ini_files

ANSWERS = []

def pytest_addoption(parser):
    options.add_options(parser)

def pytest_load_initial_conftests(early_config, parser):
    ANSWERS.append(ini_files.corrected_arguments(early_config, parser))
"""

BEFORE = ("-p", "no:wanlora", "-p", "asking", "--basetemp=base")

Ask = Callable[..., list[str] | None]


def made(path: Path, text: str = "[pytest]\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def here(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user stands; `../training` and `here/below` have a checkpoint."""
    for folder in ("here", "here/below", "training"):
        made(pytester.path / folder / "x.safetensors", "")
    monkeypatch.chdir(pytester.path / "here")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return pytester.path / "here"


@pytest.fixture
def ask(pytester: pytest.Pytester, here: Path) -> Ask:
    """The arguments with which a command line would be started again; None if it would not."""
    pytester.syspathinsert()
    pytester.makepyfile(asking=PLUGIN)

    def answer(*arguments: str) -> list[str] | None:
        pytester.parseconfig(*BEFORE, *arguments)
        found: list[str] | None = importlib.import_module("asking").ANSWERS[-1]
        if found is None:
            return None
        assert tuple(found[: len(BEFORE)]) == BEFORE
        return found[len(BEFORE) :]

    return answer


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", ""),
        (".pytest.ini", ""),
        ("pyproject.toml", "[tool.pytest.ini_options]\n"),
        ("pyproject.toml", '[project]\nname = "a"\n'),
        ("tox.ini", "[pytest]\n"),
        ("setup.cfg", "[tool:pytest]\n"),
        ("setup.py", ""),
        ("nothing.txt", ""),
    ],
)
@pytest.mark.parametrize("own", [None, "[pytest]\n"])
def test_another_projects_settings_or_root_folder(
    here: Path, ask: Ask, name: str, text: str, own: str | None
) -> None:
    made(here.parent / "training" / name, text)
    if own is not None:
        made(here / "pytest.ini", own)
    assert ask("-x", "--lora", "../training/x.safetensors") == ["-x", "--lora=../training/x.safetensors"]


@pytest.mark.parametrize("option", VALUED)
@pytest.mark.parametrize("value", ["../training/x.safetensors", "../training", "../training::x", "below"])
def test_every_option_with_a_value(here: Path, ask: Ask, option: str, value: str) -> None:
    made(here.parent / "training" / "pytest.ini")
    made(here / "below" / "pytest.ini")
    assert ask(f"--{option}", value, "-q") == [f"--{option}={value}", "-q"]


@pytest.mark.parametrize(
    ("arguments", "again"),
    [
        (
            ["--lora", "../training/x.safetensors", "--lora", "x.safetensors"],
            ["--lora=../training/x.safetensors", "--lora=x.safetensors"],
        ),
        # tests of the user's choice: the settings are theirs
        (["--lora", "../training/x.safetensors", "below"], ["--lora=../training/x.safetensors", "below"]),
        (
            ["--lora", "../training/x.safetensors", "--", "below", "x"],
            ["--lora=../training/x.safetensors", "--", "below", "x"],
        ),
        (
            ["--rootdir", ".", "--lora", "../training/x.safetensors"],
            ["--rootdir", ".", "--lora=../training/x.safetensors"],
        ),
        # the value of another option, which pytest knows
        (["-k", "below", "--lora", "../training"], ["-k", "below", "--lora=../training"]),
        (["@words.txt", "-q"], ["--lora=../training/x.safetensors", "-q"]),
    ],
)
def test_the_rest_of_the_command_line_stays(
    here: Path, ask: Ask, arguments: list[str], again: list[str]
) -> None:
    made(here.parent / "training" / "pytest.ini")
    made(here / "pytest.ini", GATE)
    made(here / "words.txt", "--lora\n../training/x.safetensors\n")
    assert ask(*arguments) == again


def test_settings_of_the_user_that_pytest_passed_over(here: Path, ask: Ask) -> None:
    made(here / "pytest.ini", GATE)
    made(here.parent / "pytest.ini")
    assert ask("--lora", "../training/x.safetensors") == ["--lora=../training/x.safetensors"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--lora", "x.safetensors"],
        ["--lora", "below/x.safetensors", "--wanlora-baselines-dir", "."],
        ["--lora", "below"],
        ["--lora=../training/x.safetensors"],
        # what is not on the disk is no path to pytest
        ["--lora", "../training/*.safetensors"],
        ["--lora", "../training/y.safetensors", "--wanlora-suite", "tiny"],
        ["--lora", "x" * 5000],
        # settings of the user's choice
        ["-c", "pytest.ini", "--lora", "../training/x.safetensors"],
        ["--config-file=pytest.ini", "--lora", "../training/x.safetensors"],
        ["--", "--lora", "../training/x.safetensors"],
        ["--lora", "x.safetensors", "below"],
        # tests of that project
        ["--lora", "../training/x.safetensors", "../training"],
        ["--update-baselines"],
    ],
)
def test_no_second_start_where_the_settings_are_right(here: Path, ask: Ask, arguments: list[str]) -> None:
    made(here.parent / "training" / "pytest.ini")
    made(here / "pytest.ini", GATE)
    assert ask(*arguments) is None


@pytest.mark.parametrize("name", ["pytest.ini", "pyproject.toml", "setup.py"])
def test_no_second_start_within_one_project(here: Path, ask: Ask, name: str) -> None:
    made(here.parent / name, "[pytest]\n" if name == "pytest.ini" else "")
    assert ask("--lora", "../training/x.safetensors") is None


class TestAddopts:
    """Words of PYTEST_ADDOPTS would be read by a second start too."""

    @pytest.mark.parametrize(
        ("own", "training", "words"),
        [
            (None, "[pytest]\n", "training/pytest.ini: pytest reads these settings"),
            (GATE, "[pytest]\n", "training/pytest.ini: pytest reads these settings"),
            (GATE, None, "here/pytest.ini: pytest does not read these settings"),
        ],
    )
    def test_refused_with_a_command_that_works(
        self,
        here: Path,
        ask: Ask,
        monkeypatch: pytest.MonkeyPatch,
        own: str | None,
        training: str | None,
        words: str,
    ) -> None:
        for folder, text in ((here, own), (here.parent / "training", training)):
            if text is not None:
                made(folder / "pytest.ini", text)
        made(here.parent / "training" / "epoch 0.safetensors", "")
        monkeypatch.setenv("PYTEST_ADDOPTS", "--lora '../training/epoch 0.safetensors'")
        with pytest.raises(Exception, match="an option and its path in one word") as refused:
            ask("-q")
        message, _, command = str(refused.value).partition("\nnext: ")
        assert words in message
        variable, *rest = shlex.split(command)
        assert variable == "PYTEST_ADDOPTS='--lora=../training/epoch 0.safetensors'"
        assert rest == ["pytest", *BEFORE, "-q"]
        name, _, value = variable.partition("=")
        monkeypatch.setenv(name, value)
        assert ask("-q") is None

    @pytest.mark.parametrize("own", ["[pytest]\n", None])
    def test_settings_that_do_not_concern_the_gate_are_pytests_affair(
        self, here: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch, own: str | None
    ) -> None:
        if own is not None:
            made(here / "pytest.ini", own)
        monkeypatch.setenv("PYTEST_ADDOPTS", "--lora ../training/x.safetensors")
        assert ask("-q") is None

    def test_what_was_typed_as_well_is_corrected_first(
        self, here: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made(here / "pytest.ini", GATE)
        monkeypatch.setenv("PYTEST_ADDOPTS", "--lora ../training/x.safetensors")
        assert ask("--lora", "../training") == ["--lora=../training"]


def test_two_words_in_an_ini_file_are_read_too_late_to_do_harm(here: Path, ask: Ask) -> None:
    made(here.parent / "training" / "pytest.ini")
    made(here / "pytest.ini", f"{GATE}addopts = --lora ../training/x.safetensors\n")
    assert ask("-q") is None


def test_a_glob_that_the_shell_expanded_is_refused_before_foreign_settings_speak(
    here: Path, ask: Ask
) -> None:
    made(here.parent / "training" / "pytest.ini", "[pytest]\naddopts = --no-such-option\n")
    made(here.parent / "training" / "y.safetensors", "")
    with pytest.raises(Exception, match=r"next: pytest '--lora=../training/\*\.safetensors' -p "):
        ask("--lora", "../training/x.safetensors", "../training/y.safetensors")


def test_joining_is_done_once() -> None:
    words = ["--lora", "a", "--wanlora-scale", "-2", "--lora=b", "--wanlora-cache", "c", "--lora", "d"]
    joined = ["--lora=a", "--wanlora-scale=-2", "--lora=b", "--wanlora-cache", "c", "--lora=d"]
    assert in_one_word(words) == joined
    assert in_two_words(joined) == []
    assert in_two_words([Path("--lora"), Path("a")]) == [0]
