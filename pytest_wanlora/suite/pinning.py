"""Write into a suite's text what is on this disk: digests of its files, commits of the hub's repositories."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import yaml

from pytest_wanlora.errors import SuiteError
from pytest_wanlora.suite import hub
from pytest_wanlora.suite.digests import digest
from pytest_wanlora.suite.files import name_of, resolve
from pytest_wanlora.suite.fingerprint import references, stated
from pytest_wanlora.suite.schema import Suite

Key: TypeAlias = tuple[str | int, ...]
"""Path of a mapping in a suite's file: `("model",)`, `("model", "experts", "high")`, `("stack", 0)`."""

#: Where the digest of a scorer's file is stated.
_SINGLE: Final[Mapping[str, Key]] = {
    "scoring.clip.weights": ("scoring", "clip", "sha256"),
    "scoring.video_features.weights": ("scoring", "video_features", "sha256"),
    "scoring.reference": ("scoring", "reference_sha256"),
}


@dataclass(frozen=True)
class Pins:
    """What can be pinned.

    Attributes:
        files: Path of a mapping with `sha256` to the name of each of its files that has none stated, and its
            digest; of files with one name to the end of each path that tells them apart.
        single: Path of a key to a digest, the same.
        commits: Reference of the hub to the same with its commit.
        unknown: Lines on what is not pinned, and why.
    """

    files: Mapping[Key, Mapping[str, str]]
    single: Mapping[Key, str]
    commits: Mapping[str, str]
    unknown: tuple[str, ...]

    @property
    def lines(self) -> Iterator[str]:
        """What is pinned, and what is not."""
        for key, found in self.files.items():
            yield from (f"pinned {_dotted(key)}.sha256.{name}: {value}" for name, value in found.items())
        yield from (f"pinned {_dotted(key)}: {value}" for key, value in self.single.items())
        yield from (f"pinned {new}" for new in self.commits.values())
        yield from (f"not pinned {line}" for line in self.unknown)


def find(suite: Suite) -> Pins:
    """Find what a suite could pin and does not.

    Raises:
        SuiteError: A local file is missing or cannot be read.
    """
    places: dict[Key, dict[Path, tuple[str, str | None]]] = {}
    single: dict[Key, str] = {}
    commits: dict[str, str] = {}
    unknown: list[str] = []
    for key, text in references(suite):
        reference = resolve(text, key=key, where=suite.where(key))
        alone = _single(key)
        if reference.kind == "package" or not (key.startswith(("model.", "stack[")) or alone):
            continue
        paths = reference.paths if reference.hub_id is None else hub.local_files(reference)
        if not paths:
            unknown.append(f"{key}: {text}: not on this disk; next: {hub.fetch_command(reference)}")
            continue
        known = stated(suite, key, text)
        for path in filter(Path.is_file, paths):
            if alone is None:
                places.setdefault(_place(key), {})[Path(os.path.normpath(path))] = key, name_of(path, known)
            elif not known:
                single[alone] = _digest(suite, key, path)
        if reference.hub_id is not None and reference.revision is None:
            commit = hub.revision_of(reference, paths)
            if commit is None:
                unknown.append(f"{key}: {text}: the hub's client has not noted one commit for its files")
            else:
                commits[text] = f"hub:{reference.hub_id}@{commit}:{reference.pattern}"
    files = {place: found for place, each in places.items() if (found := _unpinned(suite, each))}
    return Pins(files, single, commits, tuple(unknown))


def _unpinned(suite: Suite, here: Mapping[Path, tuple[str, str | None]]) -> dict[str, str]:
    """Name and digest of each file of a place that has none stated; of files with one name each its own.

    Args:
        suite: Names the files.
        here: Path to its key, and to the name under which a digest is stated that may be its.
    """
    found = {}
    for path, (key, name) in here.items():
        alike = [(other, of) for other, (of, _) in here.items() if other.name == path.name and other != path]
        if name is not None and ("/" in name or not alike):
            continue
        own = _digest(suite, key, path)
        others = [other for other, of in alike if _digest(suite, of, other) != own]
        if name is not None and not others:
            continue
        folder = suite.path.absolute().parent
        parts = path.relative_to(folder).parts if path.is_relative_to(folder) else path.parts
        # the longest name wins, so that of a file in a folder above the others' may be the end of theirs
        ends = ("/".join(parts[-count:]) for count in range(1, len(parts) + 1))
        label = next((end for end in ends if all(name_of(other, [end]) is None for other in others)), None)
        if (label := label or "/".join(parts)) != name:
            found[label] = own
    return found


def _digest(suite: Suite, key: str, path: Path) -> str:
    try:
        return digest(path)
    except OSError as error:
        raise SuiteError(
            f"{suite.where(key)}: {key}: {error.filename}: cannot be read: {error.strerror}",
            next_command=f"ls -l {shlex.quote(str(error.filename))}",
        ) from error


def _single(key: str) -> Key | None:
    """Where the digest of a reference to one file is stated; None for a part of the model."""
    if key.startswith("scenarios[") and key.endswith("].input_image"):
        return "scenarios", int(key[len("scenarios[") : key.index("]")]), "input_image_sha256"
    return _SINGLE.get(key)


def _place(key: str) -> Key:
    """The mapping whose `sha256` has the digests of a reference's files; each expert has its own."""
    if key.startswith("stack["):
        return "stack", int(key[len("stack[") : key.index("]")])
    return tuple(key.split(".")[:3]) if key.startswith("model.experts.") else ("model",)


def _dotted(key: Key) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).lstrip(".")


def pinned(text: str, pins: Pins, path: Path) -> str:
    """Put pins into a suite's text; comments and everything else stay.

    Raises:
        SuiteError: A mapping that gets a key is written in braces.
    """
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    edits: list[tuple[int, int, str]] = []
    for where, files in pins.files.items():
        holder = _mapping(root, where, path)
        known = next((value for key, value in holder.value if key.value == "sha256"), None)
        if known is None or known.flow_style is not False:
            before = {} if known is None else {key.value: value.value for key, value in known.value}
            at = _first(holder)
            new = f"sha256:\n{_block({**before, **files}, at.column + 2)}"
            if known is None:
                edits.append((at.index, at.index, f"{new}\n{' ' * at.column}"))
            else:
                edits.append((*_span(holder, "sha256"), new))
        else:
            at = _first(known)
            edits.append((at.index, at.index, _block(files, at.column).lstrip() + f"\n{' ' * at.column}"))
    for key, value in pins.single.items():
        mapping = _mapping(root, key[:-1], path)
        at = _first(mapping)
        if any(name.value == key[-1] for name, _ in mapping.value):
            edits.append((*_span(mapping, str(key[-1])), f'{key[-1]}: "{value}"'))
        else:
            edits.append((at.index, at.index, f'{key[-1]}: "{value}"\n{" " * at.column}'))
    for node in _scalars(root):
        if node.value in pins.commits:
            edits.append((node.start_mark.index, node.end_mark.index, pins.commits[node.value]))
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _block(pins: Mapping[str, str], column: int) -> str:
    return "\n".join(
        f'{" " * column}{json.dumps(name, ensure_ascii=False)}: "{value}"' for name, value in pins.items()
    )


def _mapping(root: yaml.Node | None, key: Key, path: Path) -> yaml.MappingNode:
    node = root
    for part in key:
        if isinstance(part, int):
            assert isinstance(node, yaml.SequenceNode)
            node = node.value[part]
        else:
            assert isinstance(node, yaml.MappingNode)
            node = next(value for name, value in node.value if name.value == part)
    if not isinstance(node, yaml.MappingNode) or node.flow_style is not False:
        line = 1 if node is None else node.start_mark.line + 1
        raise SuiteError(
            f"{path}:{line}: {_dotted(key)}: written in braces; allowed with --pin: one key a line",
            next_command=f"sed -n {line}p {shlex.quote(str(path))}",
        )
    return node


def _first(mapping: yaml.MappingNode) -> yaml.Mark:
    mark: yaml.Mark = mapping.value[0][0].start_mark
    return mark


def _span(mapping: yaml.MappingNode, key: str) -> tuple[int, int]:
    return next(
        (name.start_mark.index, value.end_mark.index) for name, value in mapping.value if name.value == key
    )


def _scalars(node: yaml.Node | None) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            yield from _scalars(each)
    elif isinstance(node, yaml.MappingNode):
        for _, value in node.value:
            yield from _scalars(value)
