"""Pytest's settings: which file is extended, what stays as it was, what is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from pytest_wanlora.errors import SettingsError
from pytest_wanlora.new_project import ini_files
from pytest_wanlora.new_project.changes import Change

KEYS = {"wanlora_suite": "suites/mine.yaml", "wanlora_baselines_dir": "baselines"}
INI = "wanlora_suite = suites/mine.yaml\nwanlora_baselines_dir = baselines\n"
TOML = 'wanlora_suite = "suites/mine.yaml"\nwanlora_baselines_dir = "baselines"\n'


def extended(folder: Path, name: str, text: str) -> Change:
    (folder / name).write_bytes(text.encode("utf-8"))
    change = ini_files.extend(folder, KEYS)
    assert change.path == folder / name
    assert change.before == text.encode("utf-8")
    return change


def test_an_empty_folder_gets_a_pytest_ini(tmp_path: Path) -> None:
    change = ini_files.extend(tmp_path, KEYS)
    assert change == Change(tmp_path / "pytest.ini", f"[pytest]\n{INI}".encode())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("pytest.ini", "", f"[pytest]\n{INI}"),
        ("pytest.ini", "[pytest]\naddopts = -q\n", f"[pytest]\n{INI}addopts = -q\n"),
        ("pytest.ini", "[pytest]", f"[pytest]\n{INI}"),
        ("pytest.ini", "# ours\n[pytest] # mark\nx = 1", f"# ours\n[pytest] # mark\n{INI}x = 1"),
        (".pytest.ini", "[other]\na = 1\n", f"[other]\na = 1\n\n[pytest]\n{INI}"),
        ("tox.ini", "[tox]\nx = 1\n[pytest]\nx = 2\n[a]\n", f"[tox]\nx = 1\n[pytest]\n{INI}x = 2\n[a]\n"),
        ("setup.cfg", "[tool:pytest]\nx =\n    a\n    b\n", f"[tool:pytest]\n{INI}x =\n    a\n    b\n"),
        ("pyproject.toml", "[tool.pytest.ini_options]\nx = 1\n", f"[tool.pytest.ini_options]\n{TOML}x = 1\n"),
        ("pyproject.toml", '[ tool . pytest ]#\nx = ["a"]\n', f'[ tool . pytest ]#\n{TOML}x = ["a"]\n'),
        ("pytest.toml", "", f"[pytest]\n{TOML}"),
        (".pytest.toml", "[pytest]\nx = 1\n", f"[pytest]\n{TOML}x = 1\n"),
        (
            "pyproject.toml",
            'a = """\n[tool.pytest.ini_options]\n"""\n[tool.pytest.ini_options]\n'
            "[tool.pytest.ini_options.b]\nc = 1\n",
            'a = """\n[tool.pytest.ini_options]\n"""\n[tool.pytest.ini_options]\n'
            f"{TOML}[tool.pytest.ini_options.b]\nc = 1\n",
        ),
    ],
)
def test_the_keys_come_behind_the_sections_line(tmp_path: Path, name: str, before: str, after: str) -> None:
    assert extended(tmp_path, name, before).after.decode() == after


def test_lines_end_as_they_did(tmp_path: Path) -> None:
    after = extended(tmp_path, "pytest.ini", "[pytest]\r\nx = 1\r\n").after
    assert after == f"[pytest]\n{INI}x = 1\n".replace("\n", "\r\n").encode()


@pytest.mark.parametrize("name", ["pyproject.toml", "tox.ini", "setup.cfg"])
def test_a_file_without_settings_of_pytest_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('[tool]\nx = "1"\n')
    assert ini_files.extend(tmp_path, KEYS).path.name == "pytest.ini"


def test_the_file_that_pytest_reads_first_is_extended(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "tox.ini").write_text("[pytest]\n")
    assert ini_files.extend(tmp_path, KEYS).path.name == "pyproject.toml"
    (tmp_path / "pytest.ini").write_text("")
    assert ini_files.extend(tmp_path, KEYS).path.name == "pytest.ini"
    (tmp_path / "pytest.toml").write_text("")
    assert ini_files.extend(tmp_path, KEYS).path.name == "pytest.toml"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "pytest.ini",
            "[pytest]\nwanlora_suite = other.yaml\n",
            "wanlora_suite is there already, 'other.yaml'",
        ),
        (
            "pyproject.toml",
            '[tool.pytest]\nwanlora_baselines_dir = "b"\n',
            "wanlora_baselines_dir is there already",
        ),
        ("pyproject.toml", "[tool.pytest\n", "cannot be parsed"),
        ("pytest.ini", "x = 1\n", "cannot be parsed"),
        ("pytest.ini", "[pytest]\nx = \xff\n", "is not UTF-8"),
        ("pyproject.toml", "[tool]\npytest = {ini_options = {x = 1}}\n", "cannot be put into"),
        ("pyproject.toml", '["tool"."pytest".ini_options]\nx = 1\n', "cannot be put into"),
    ],
)
def test_what_cannot_be_extended_is_refused(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=words) as caught:
        ini_files.extend(tmp_path, KEYS)
    assert str(tmp_path / name) in str(caught.value)
    assert (tmp_path / name).read_bytes() == text.encode("latin-1")


@pytest.mark.parametrize("value", ["a b.csv", "한.csv", 'a"b.csv', "a\\b.csv", "a#b.csv", "a'b.csv"])
def test_values_come_back_as_they_were(tmp_path: Path, value: str) -> None:
    (tmp_path / "pytest.toml").write_text("")
    text = ini_files.extend(tmp_path, {"k": value}).after.decode()
    assert tomllib.loads(text) == {"pytest": {"k": value}}


def test_a_value_that_an_ini_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be put into"):
        ini_files.extend(tmp_path, {"k": "a\n[pytest]"})
