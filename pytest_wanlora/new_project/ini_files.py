"""Pytest's settings of a folder: which file holds them, and that file with more keys in it.

Keys are put in as text right behind the line of the section, so that everything else in the file stays as it
is. The result counts only if a parser finds what was there before and the new keys.
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Final, NamedTuple

from pytest_wanlora.errors import SettingsError
from pytest_wanlora.new_project.changes import Change

DEFAULT: Final = "pytest.ini"
"""The file for a folder without any settings of pytest."""


class _Section(NamedTuple):
    """A table of a file that pytest reads.

    Attributes:
        toml: Whether it is TOML.
        always: Whether pytest takes the file even if it lacks the table.
        since: First version of pytest that reads it.
    """

    file: str
    keys: tuple[str, ...]
    toml: bool = False
    always: bool = False
    since: int = 0

    @property
    def header(self) -> str:
        """Its line in the file."""
        return f"[{'.'.join(self.keys)}]"


#: In pytest's order; the first that applies is the one that it reads.
_SECTIONS: Final = (
    _Section("pytest.toml", ("pytest",), toml=True, always=True, since=9),
    _Section(".pytest.toml", ("pytest",), toml=True, always=True, since=9),
    _Section("pytest.ini", ("pytest",), always=True),
    _Section(".pytest.ini", ("pytest",), always=True),
    _Section("pyproject.toml", ("tool", "pytest", "ini_options"), toml=True),
    _Section("pyproject.toml", ("tool", "pytest"), toml=True, since=9),
    _Section("tox.ini", ("pytest",)),
    _Section("setup.cfg", ("tool:pytest",)),
)


def extend(folder: Path, values: Mapping[str, str]) -> Change:
    """Put keys into the settings that pytest reads in a folder.

    Args:
        folder: Where pytest will be started; folders above it are not looked at.
        values: Value by key.

    Returns:
        A change of the file that pytest reads there, or a new `pytest.ini`. Nothing is written.

    Raises:
        SettingsError: The file cannot be read or parsed, has one of the keys, or cannot be extended as text.
    """
    version = int(metadata.version("pytest").split(".")[0])
    for section in _SECTIONS:
        path = folder / section.file
        if section.since > version or not path.is_file():
            continue
        before = _read(path)
        parse = _parser(path, section)
        found = _table(parse(before), section.keys)
        if found is None and not section.always:
            continue
        for key in values:
            if key in (found or {}):
                raise SettingsError(
                    f"{path}: {key} is there already, {str((found or {})[key])!r}; init changes no key; "
                    f"allowed: a file without {', '.join(values)}, or another --folder",
                    next_command=f"grep -n wanlora_ {shlex.quote(str(path))}",
                )
        return Change(
            path, _extended(path, section, before, values, parse).encode("utf-8"), before.encode("utf-8")
        )
    section = next(each for each in _SECTIONS if each.file == DEFAULT)
    text = _extended(folder / DEFAULT, section, "", values, _parser(folder / DEFAULT, section))
    return Change(folder / DEFAULT, text.encode("utf-8"))


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path} is not UTF-8; pytest reads nothing else", next_command=f"file {shlex.quote(str(path))}"
        ) from error
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be read: {error.strerror}", next_command=f"ls -l {shlex.quote(str(path))}"
        ) from error


def _parser(path: Path, section: _Section) -> Callable[[str], dict[str, Any]]:
    def parse(text: str) -> dict[str, Any]:
        try:
            return tomllib.loads(text) if section.toml else _parse_ini(path, text)
        except ValueError as error:
            raise SettingsError(
                f"{path}, which pytest reads too, cannot be parsed: {error}",
                next_command=f"cat {shlex.quote(str(path))}",
            ) from error

    return parse


def _parse_ini(path: Path, text: str) -> dict[str, Any]:
    # pytest's own parser, so that both read the same
    import iniconfig

    try:
        found = iniconfig.IniConfig(str(path), data=text)
    except iniconfig.ParseError as error:
        raise ValueError(str(error)) from error
    return {section: dict(found[section].items()) for section in found.sections}


def _table(document: Mapping[str, Any], keys: tuple[str, ...]) -> Mapping[str, Any] | None:
    at: Any = document
    for key in keys:
        at = at.get(key) if isinstance(at, Mapping) else None
    # an empty [tool.pytest] is none for pytest either
    return at if isinstance(at, Mapping) and (at or keys != ("tool", "pytest")) else None


def _extended(
    path: Path,
    section: _Section,
    before: str,
    values: Mapping[str, str],
    parse: Callable[[str], dict[str, Any]],
) -> str:
    end = "\r\n" if "\r\n" in before else "\n"
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False) if section.toml else value}"
        for key, value in values.items()
    ]
    added = "".join(line + end for line in lines)
    wanted = _merged(parse(before), section.keys, values)
    for text in _candidates(section, before, added, end):
        try:
            if parse(text) == wanted:
                return text
        except SettingsError:
            continue
    raise SettingsError(
        f"{path}: the keys cannot be put into {section.header} without changing anything else; "
        f"nothing was written; allowed: these lines there by your own hand: {'; '.join(lines)}",
        next_command=f"cat {shlex.quote(str(path))}",
    )


def _candidates(section: _Section, before: str, added: str, end: str) -> Iterator[str]:
    """Texts with the keys behind each line that looks like the section's, then with a section at the end."""
    inner = r"\s*\.\s*".join(map(re.escape, section.keys))
    for found in re.finditer(rf"^[ \t]*\[[ \t]*{inner}[ \t]*\][^\n]*\n?", before, re.MULTILINE):
        behind = before[: found.end()]
        yield f"{behind}{'' if behind.endswith(chr(10)) else end}{added}{before[found.end() :]}"
    gap = "" if not before else end if before.endswith("\n") else end * 2
    yield f"{before}{gap}{section.header}{end}{added}"


def _merged(document: Mapping[str, Any], keys: tuple[str, ...], values: Mapping[str, str]) -> dict[str, Any]:
    if not keys:
        return {**document, **values}
    below = document.get(keys[0], {})
    return {**document, keys[0]: _merged(below, keys[1:], values)}
