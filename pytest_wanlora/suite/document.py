"""Suite files as text: YAML with the line of every key, and errors that name them.

Read with YAML 1.2's core rules for plain words, so that `no` stays a word, `1e-3` is a number and `22:30`
is not an angle. Aliases, anchors and tags are refused: a suite has no use for them, and they are how a small
file becomes a large one.
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import yaml

from pytest_wanlora.errors import SuiteError
from pytest_wanlora.files import dangling, listing, read_regular

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value sits: `("scenarios", 0, "prompt")`."""
Value: TypeAlias = "bool | int | float | str | tuple[Value, ...] | dict[str, Value] | None"
"""What a suite file can hold; lists arrive as tuples."""

LARGEST_FILE: Final = 1 << 20  # bytes; word lists of twenty categories take a few thousand
DEEPEST: Final = 12  # levels; a suite uses five
MOST_PROBLEMS: Final = 20

_INT: Final = re.compile(r"[-+]?[0-9]{1,60}")
_FLOAT: Final = re.compile(
    r"[-+]?(\.[0-9]{1,60}|[0-9]{1,60}(\.[0-9]{0,60})?)([eE][-+]?[0-9]{1,4})?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_NAMED_FLOATS: Final = re.compile(r"\.(inf|nan)", re.IGNORECASE)  # YAML writes .inf where Python writes inf
_TAG: Final = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a suite file.

    Attributes:
        line: Counted from 1.
        key: Dotted, `sampling.height`; empty when the whole file is meant.
        text: The value, what is wrong with it and what is allowed.
    """

    line: int
    key: str
    text: str


@dataclass(frozen=True)
class Document:
    """A suite file, read but not yet checked against the models.

    Attributes:
        lines: Line of every key and of every list item, counted from 1.
        problems: What is wrong already: duplicate keys, keys that are not text, foreign tags.
        sha256: Of the file's bytes, hex.
    """

    data: dict[str, Value]
    lines: Mapping[KeyPath, int]
    problems: tuple[Problem, ...]
    sha256: str

    def line_of(self, key: KeyPath) -> int:
        """Return the line of a key, or of the nearest key above it that the file has."""
        while key and key not in self.lines:
            key = key[:-1]
        return self.lines.get(key, 1)


def read(path: Path) -> Document:
    """Read a suite file.

    Raises:
        SuiteError: The file is missing, unreadable, over 1 MiB, not UTF-8, not YAML, empty, not a mapping,
            nested deeper than 12 levels, or uses aliases.
    """
    content = _content(path)
    text = _decode(path, content)
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(path, text, error) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        text = f"not YAML: the character {chr(error.character)!r} is not allowed"
        raise rejection(path, [Problem(line, "", text)]) from error
    if root is None:
        text = "the file is empty; allowed: a mapping with model, sampling, scoring, scenarios"
        raise rejection(path, [Problem(1, "", text)])
    if not isinstance(root, yaml.MappingNode):
        line = root.start_mark.line + 1
        text = "not a mapping; allowed: keys like `model:` and `scenarios:`"
        raise rejection(path, [Problem(line, "", text)])
    builder = _Builder()
    data = builder.mapping(root, ())
    return Document(data, builder.lines, tuple(builder.problems), hashlib.sha256(content).hexdigest())


def rejection(path: Path, problems: Iterable[Problem]) -> SuiteError:
    """Put all problems of a file, the first 20 of them by line, into one error to raise."""
    ordered = sorted(set(problems), key=lambda problem: (problem.line, problem.key, problem.text))
    lines = [
        f"{path}:{problem.line}: " + (f"{problem.key}: " if problem.key else "") + problem.text
        for problem in ordered[:MOST_PROBLEMS]
    ]
    if len(ordered) > MOST_PROBLEMS:
        lines.append(f"... and {len(ordered) - MOST_PROBLEMS} more")
    if len(ordered) > 1:
        lines.insert(0, f"{path}: {len(ordered)} errors")
    look = f"sed -n {ordered[0].line}p {shlex.quote(str(path))}"
    return SuiteError("\n".join(lines), next_command=look)


def dotted(key: KeyPath) -> str:
    """Write a key path as people do: `scenarios[0].prompt`."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def quoted(value: object) -> str:
    """Show a value in one short line; mappings and lists by their kind alone."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise SuiteError(
                f"{path}: a folder; allowed: a suite file (.yaml)",
                next_command=f"ls {shlex.quote(str(path))}",
            )
        if size > LARGEST_FILE:
            raise SuiteError(
                f"{path}: {size} bytes; allowed: suite files up to {LARGEST_FILE} bytes",
                next_command=f"head {shlex.quote(str(path))}",
            )
        return read_regular(path, largest=LARGEST_FILE)
    except FileNotFoundError as error:
        raise SuiteError(f"{path}: {dangling(path) or 'no such file'}", next_command=listing(path)) from error
    except OSError as error:
        raise SuiteError(
            f"{path}: cannot be read: {error.strerror}", next_command=f"ls -l {shlex.quote(str(path))}"
        ) from error


def _decode(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        problem = Problem(line, "", f"byte 0x{byte:02x} is not UTF-8; allowed: UTF-8 text")
        raise rejection(path, [problem]) from error


def _syntax_error(path: Path, text: str, error: yaml.MarkedYAMLError) -> SuiteError:
    mark = error.problem_mark or error.context_mark
    number = mark.line + 1 if mark else 1
    rows = text.splitlines()
    row = rows[number - 1] if number <= len(rows) else ""
    problem = (error.problem or "cannot be parsed").replace("\n", " ")
    if "\t" in row[: len(row) - len(row.lstrip())] or "'\\t'" in problem:
        complaint = "a tab in the indentation; allowed: spaces"
    elif "mapping values are not allowed" in problem:
        complaint = "not YAML: a colon where no key can be; allowed: quotes around a text that holds ': '"
    elif "expected a single document" in (error.context or ""):
        complaint = "a second document after `---`; allowed: one suite a file"
    else:
        complaint = f"not YAML: {problem}"
    return rejection(path, [Problem(number, "", complaint)])


class _Loader(yaml.SafeLoader):
    """PyYAML's composer without aliases and with a limit on depth."""

    level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave it untyped
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.composer.ComposerError(
                None,
                None,
                "anchors (&name) and aliases (*name) are not allowed; write the value out",
                event.start_mark,
            )
        if self.level >= DEEPEST:
            raise yaml.composer.ComposerError(
                None, None, f"nested deeper than {DEEPEST} levels", event.start_mark
            )
        self.level += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self.level -= 1
        return node


_Loader.yaml_implicit_resolvers = {}  # YAML 1.1's rules, dropped; those of 1.2's core schema follow
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile(r"~|null|Null|NULL|$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(_INT.pattern + "$"), list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", re.compile(f"({_FLOAT.pattern})$"), list("-+.0123456789"))


class _Builder:
    """Turns composed nodes into plain values, noting lines and problems on the way."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {(): 1}
        self.problems: list[Problem] = []

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Value]:
        self._check_tag(node, "map", path)
        result: dict[str, Value] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = _whole(key_node.value) if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag != f"{_TAG}str":
                shown = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or mapping"
                self._add(
                    line, path, f"the key {quoted(shown)} is not text; allowed: text, in quotes if need be"
                )
                continue
            below = (*path, key)
            if key in result:
                first = self.lines[below]
                self._add(line, below, f"written twice, first in line {first}; allowed: each key once")
                continue
            self.lines[below] = line
            result[key] = self._value(value_node, below)
        return result

    def _value(self, node: yaml.Node, path: KeyPath) -> Value:
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, "seq", path)
            items = []
            for number, item in enumerate(node.value):
                self.lines[(*path, number)] = item.start_mark.line + 1
                items.append(self._value(item, (*path, number)))
            return tuple(items)
        return self._scalar(node, path)

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Value:
        text = _whole(node.value)
        if text is None:
            self._add(
                node.start_mark.line + 1, path, "half of an escaped character; allowed: the character itself"
            )
            return ""
        kind = node.tag.removeprefix(_TAG)
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind == "int" and _INT.fullmatch(text):
            return int(text)
        if kind == "float" and _FLOAT.fullmatch(text):
            return float(_NAMED_FLOATS.sub(r"\1", text))
        self._check_tag(node, "str", path)
        return text

    def _check_tag(self, node: yaml.Node, kind: str, path: KeyPath) -> None:
        if node.tag != _TAG + kind:
            tag = node.tag.replace(_TAG, "!!")
            self._add(
                node.start_mark.line + 1,
                path,
                f"the tag {tag} is not allowed; allowed: the value without a tag",
            )

    def _add(self, line: int, path: KeyPath, text: str) -> None:
        self.problems.append(Problem(line, dotted(path), text))


def _whole(text: str) -> str | None:
    r"""Join the halves of characters that JSON escapes in two, `"\ud83c\udf38"`; None for a lone half."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None
