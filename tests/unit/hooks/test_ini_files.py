from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wanlora.errors import SettingsError
from pytest_wanlora.hooks.ini_files import refuse_foreign

GATE = "[pytest]\nwanlora_suite = own.yaml\n"


def made(path: Path, text: str = "[pytest]\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", ""),
        (".pytest.ini", ""),
        ("pyproject.toml", "[tool.pytest.ini_options]\n"),
        ("tox.ini", "[pytest]\n"),
        ("setup.cfg", "[tool:pytest]\n"),
    ],
)
def test_the_settings_of_a_checkpoints_folder_are_refused(
    tmp_path: Path, here: Path, name: str, text: str
) -> None:
    taken = made(tmp_path / "training" / name, text)
    with pytest.raises(SettingsError) as refused:
        refuse_foreign(["-x", "--lora", "../training/epoch 0.safetensors"], taken, here)
    assert str(taken) in refused.value.message
    assert refused.value.next_command is not None
    assert "--lora='../training/epoch 0.safetensors'" in refused.value.next_command


def test_settings_of_the_gate_that_are_passed_over_are_refused(tmp_path: Path, here: Path) -> None:
    own = made(here / "pytest.ini", GATE)
    with pytest.raises(SettingsError, match="pytest passes over these settings") as refused:
        refuse_foreign(["--lora", "/elsewhere/x.safetensors"], None, here / "below")
    assert str(own) in refused.value.message


@pytest.mark.parametrize(
    ("arguments", "own", "taken"),
    [
        (["--lora", "x.safetensors"], GATE, "here/pytest.ini"),
        # in one word it is no path to pytest, so there is nothing to fear
        (["--lora=../training/x.safetensors"], GATE, "training/pytest.ini"),
        # other settings than the gate's are pytest's affair
        (["--lora", "/elsewhere/x.safetensors"], "[pytest]\n", None),
        (["--lora", "/elsewhere/x.safetensors"], None, None),
        # a project without settings for pytest
        (["--lora", "../training/x.safetensors"], None, "training/pyproject.toml"),
        (["--update-baselines"], GATE, "here/pytest.ini"),
    ],
)
def test_what_the_user_meant_is_let_pass(
    tmp_path: Path, here: Path, arguments: list[str], own: str | None, taken: str | None
) -> None:
    made(tmp_path / "training" / "pytest.ini")
    made(tmp_path / "training" / "pyproject.toml", '[project]\nname = "a"\n')
    if own is not None:
        made(here / "pytest.ini", own)
    refuse_foreign(arguments, None if taken is None else tmp_path / taken, here)
