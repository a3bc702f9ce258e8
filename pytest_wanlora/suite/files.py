"""Files that a suite names: where they are, and whether they have the stated digests."""

from __future__ import annotations

import importlib.resources
import posixpath
import re
import shlex
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from safetensors import SafetensorError

from pytest_wanlora.checkpoint.container import read_header
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.files import dangling, expand_home, listing
from pytest_wanlora.suite.digests import digest

KINDS: Final = (
    "a path or glob relative to the suite file, package:FILE (shipped with pytest-wanlora), "
    "hub:OWNER/NAME:FILE or hub:OWNER/NAME@COMMIT:FILE (downloaded), "
    "baselines:FILE (in the suite's folder of the baselines)"
)
_HUB: Final = re.compile(r"hub:([\w.-]+/[\w.-]+)(?:@([0-9a-f]{40}))?:([^:\\]+)")
#: Parts of the model that may lie in several files, its shards; every other key means one.
_SHARDED: Final = ("model.dit", "model.experts.", "model.text_encoder", "model.vae", "model.image_encoder")
#: Keys that may mean a folder: the tokenizer's, and what a scenario of an installed type depends on.
_FOLDERS: Final = re.compile(r"model\.tokenizer|scenarios\[\d+\]\.(?!input_image$).+")
_PREFIX: Final = re.compile(r"[A-Za-z][A-Za-z0-9+_-]+:")  # two letters or more: C:\ is a drive


@dataclass(frozen=True)
class FileReference:
    """A file reference of a suite, resolved.

    Attributes:
        key: Dotted key that names it, `model.dit[0]`.
        text: The reference, relative paths made absolute.
        kind: `"file"`, `"package"` or `"hub"`.
        paths: Existing files, or one folder, sorted; empty for `"hub"`.
        hub_id: `Wan-AI/Wan2.2-TI2V-5B`; None unless `"hub"`.
        pattern: File, glob or folder (ending in `/`) inside the hub repository; None unless `"hub"`.
        revision: The commit of the repository that the suite pins; None where it pins none.
    """

    key: str
    text: str
    kind: Literal["file", "package", "hub"]
    paths: tuple[Path, ...] = ()
    hub_id: str | None = None
    pattern: str | None = None
    revision: str | None = None


def anchored(text: str, *, folder: Path, baselines: Path) -> str:
    """Check the form of a reference and make relative paths absolute.

    Args:
        baselines: The suite's own folder in the baselines directory, for `baselines:FILE`.

    Raises:
        ValueError: Not one of the four forms; the message says what is allowed.

    Example:
        >>> anchored("vae.safetensors", folder=Path("/models"), baselines=Path("/b/tiny"))
        '/models/vae.safetensors'
        >>> anchored("baselines:reference.safetensors", folder=Path("/models"), baselines=Path("/b/tiny"))
        '/b/tiny/reference.safetensors'
    """
    if text.startswith("hub:"):
        if not _HUB.fullmatch(text):
            raise ValueError(
                "not of the form; allowed: hub:OWNER/NAME:FILE, or hub:OWNER/NAME@COMMIT:FILE (40 digits)"
            )
        return text
    for prefix, root in (("package:", None), ("baselines:", baselines)):
        if text.startswith(prefix):
            inner = PurePosixPath(text.removeprefix(prefix))
            if inner.is_absolute() or ".." in inner.parts or not inner.parts:
                raise ValueError(f"outside of its folder; allowed: {prefix}PATH without ..")
            return text if root is None else str(root / inner)
    if not text.strip() or _PREFIX.match(text):
        raise ValueError(f"not a file reference; allowed: {KINDS}")
    return str(folder / expand_home(text))


def inside_package(text: str) -> Path:
    """Return the path of a `package:FILE` reference; it may not exist."""
    return Path(str(importlib.resources.files("pytest_wanlora"))) / text.removeprefix("package:")


def resolve(text: str, *, key: str, where: str = "suite") -> FileReference:
    """Find the files of a reference.

    Nothing is downloaded and nothing is read.

    Raises:
        SuiteError: A local reference matches no file, or not what its key means: one file, shards, a folder.
    """
    meant = "one folder" if key == "model.tokenizer" else "one file"
    if found := _HUB.fullmatch(text):
        folder = found[3].endswith("/") and not _FOLDERS.fullmatch(key)
        if not key.startswith(_SHARDED) and (folder or set("*?") & set(found[3])):
            what = "a folder" if folder else "a pattern"
            raise SuiteError(f"{where}: {key}: {text}: {what}; allowed: the name of {meant}")
        return FileReference(key, text, "hub", hub_id=found[1], pattern=found[3], revision=found[2])
    inside = text.startswith("package:")
    path = Path(text)
    if inside:
        path = inside_package(text)
    paths = _matches(path)
    if not paths:
        command, link = listing(path), dangling(path)
        if key == "scoring.reference" and link is None:
            command = "python -m pytest_wanlora reference --help"
        raise SuiteError(f"{where}: {key}: {path}: {link or 'no such file'}", next_command=command)
    if len(paths) > 1 and not key.startswith(_SHARDED):
        raise SuiteError(
            f"{where}: {key}: {path}: matches {len(paths)} files, such as {paths[0].name} and "
            f"{paths[1].name}; allowed: {meant}",
            next_command=f"ls {shlex.quote(str(path.parent))}",
        )
    for found_path in paths:
        if found_path.is_dir() and not _FOLDERS.fullmatch(key):
            raise SuiteError(
                f"{where}: {key}: {found_path}: a folder; allowed: a file",
                next_command=f"ls {shlex.quote(str(found_path))}",
            )
        if not (found_path.is_file() or found_path.is_dir()):
            raise SuiteError(
                f"{where}: {key}: {found_path}: a pipe or a device; allowed: a regular file",
                next_command=f"ls -l {shlex.quote(str(found_path))}",
            )
    return FileReference(key, text, "package" if inside else "file", paths)


def verify(
    paths: Collection[Path], stated: Mapping[str, str], *, key: str, where: str = "suite"
) -> dict[Path, str]:
    """Compare files with stated digests.

    Args:
        paths: Existing files; folders are left alone.
        stated: SHA-256 by name, see `named`; files that are not named in it are left alone.
        where: `file:line` of the key, for the message.

    Returns:
        Digest of every file that was compared.

    Raises:
        SuiteError: A file differs or cannot be read.
    """
    result: dict[Path, str] = {}
    for path in paths:
        expected = stated_for(path, stated)
        if expected is None or path.is_dir():
            continue
        try:
            actual = digest(path)
        except OSError as error:
            raise SuiteError(
                f"{where}: {key}: {path}: cannot be read: {error.strerror}",
                next_command=f"ls -l {shlex.quote(str(path))}",
            ) from error
        if actual != expected:
            raise SuiteError(
                f"{where}: {key}: {path}: SHA-256 is {actual}; allowed: {expected}, which the suite states",
                next_command=f"sha256sum {shlex.quote(str(path))}",
            )
        result[path] = actual
    return result


def named(name: str, reference: str) -> bool:
    """Whether a digest that is stated under a name may be of a reference's files.

    A name is a file's, or the end of its path where two files have one name: `high/epoch-4.safetensors`.
    An empty one is of whatever file the reference means.

    Args:
        name: As the suite has it.
        reference: In any form, relative or absolute; names of shards may be a pattern in it.

    Example:
        >>> named("epoch-4.safetensors", "high/epoch-4.safetensors"), named("low/a.pt", "high/a.pt")
        (True, False)
    """
    text = inner_path(reference)
    given, pattern = _parts(name), _parts(text)
    for own, wanted in zip(reversed(given), reversed(pattern), strict=False):
        if wanted == "**":
            return True
        # a name with [ in it is one, not a pattern
        if own != wanted and not fnmatchcase(own, wanted):
            return False
    # the folders above the suite's are known on the disk alone
    return len(given) <= len(pattern) or posixpath.normpath(text).startswith("..")


def inner_path(reference: str) -> str:
    """The path in a reference of any form: of a file in a repository the one inside it."""
    if found := _HUB.fullmatch(reference):
        return found[3]
    return reference.removeprefix("package:").removeprefix("baselines:")


def name_of(path: Path, names: Iterable[str]) -> str | None:
    """The name under which a file's digest is stated: the longest that its path ends with; None for none."""
    parts = _parts(str(path))
    fitting = [name for name in names if parts[len(parts) - len(_parts(name)) :] == _parts(name)]
    return max(fitting, key=lambda name: len(_parts(name)), default=None)


def stated_for(path: Path, stated: Mapping[str, str]) -> str | None:
    """The digest that is stated for a file; None if none is."""
    name = name_of(path, stated)
    return None if name is None else stated[name]


def _parts(text: str) -> tuple[str, ...]:
    path = posixpath.normpath(Path(text).as_posix())
    return tuple(part for part in PurePosixPath(path).parts if part not in ("..", "."))


def refuse_repeated(paths: Collection[Path], *, key: str, where: str, next_command: str) -> None:
    """Refuse files of one part of a model that have a tensor in common.

    Loaders would keep the last one in silence: two experts would become one of them.

    Args:
        paths: Its files.
        key: Dotted key of the part, `model.dit`.
        where: `file:line` of it.
        next_command: What shows that line.

    Raises:
        SuiteError: Names a tensor and two files.
    """
    why = "two experts are not one model" if key.endswith("dit") else "the last one would count in silence"
    seen: dict[str, Path] = {}
    for path in (each for each in paths if each.suffix.lower() == ".safetensors"):
        try:
            entries, _ = read_header(path, path.stat().st_size)
        except (SafetensorError, OSError, ValueError):
            continue
        for name in entries:
            if name in seen:
                raise SuiteError(
                    f"{where}: {key}: tensor {name!r} is in both {seen[name]} and {path}: {why}; allowed: "
                    "the shards of one model, each tensor in one of them",
                    next_command=next_command,
                )
        seen |= dict.fromkeys(entries, path)


def _matches(path: Path) -> tuple[Path, ...]:
    """Return the path itself, or what it matches as a glob; a literal name wins over a glob."""
    if path.exists():
        return (path,)
    anchor = next(folder for folder in path.parents if folder.is_dir())
    rest = path.relative_to(anchor)
    if not has_magic(str(rest)):
        return ()
    return tuple(sorted(found for found in anchor.glob(str(rest)) if found.is_file()))


def has_magic(text: str) -> bool:
    """Whether a path is a glob."""
    return any(character in text for character in "*?[")
