"""Files that a suite names: where they are, what they hold, and what makes two results comparable."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal

from pytest_wanlora.errors import SuiteError
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite.digests import digest
from pytest_wanlora.suite.models import added_models

if TYPE_CHECKING:
    from pytest_wanlora.suite.schema import Scenario, Suite

KINDS: Final = (
    "a path or glob relative to the suite file, package:FILE (shipped with pytest-wanlora), "
    "hub:OWNER/NAME:FILE (downloaded), baselines:FILE (in the suite's folder of the baselines)"
)
_HUB: Final = re.compile(r"hub:([\w.-]+/[\w.-]+):([^:\\]+)")
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
    """

    key: str
    text: str
    kind: Literal["file", "package", "hub"]
    paths: tuple[Path, ...] = ()
    hub_id: str | None = None
    pattern: str | None = None


def anchored(text: str, *, folder: Path, baselines: Path) -> str:
    """Check the form of a reference and make relative paths absolute.

    Args:
        text: As written in the suite.
        folder: Of the suite file.
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
            raise ValueError("not of the form; allowed: hub:OWNER/NAME:FILE")
        return text
    for prefix, root in (("package:", None), ("baselines:", baselines)):
        if text.startswith(prefix):
            inner = PurePosixPath(text.removeprefix(prefix))
            if inner.is_absolute() or ".." in inner.parts or not inner.parts:
                raise ValueError(f"outside of its folder; allowed: {prefix}PATH without ..")
            return text if root is None else str(root / inner)
    if not text.strip() or _PREFIX.match(text):
        raise ValueError(f"not a file reference; allowed: {KINDS}")
    return str(folder / Path(text).expanduser())


def inside_package(text: str) -> Path:
    """Return the path of a `package:FILE` reference; it may not exist."""
    return Path(str(importlib.resources.files("pytest_wanlora"))) / text.removeprefix("package:")


def resolve(text: str, *, key: str, where: str = "suite") -> FileReference:
    """Find the files of a reference.

    Nothing is downloaded and nothing is read.

    Args:
        text: A reference as `anchored` returns it.
        key: Dotted key, for the message.
        where: `file:line` of the key, for the message.

    Raises:
        SuiteError: A local reference matches no file.
    """
    if found := _HUB.fullmatch(text):
        return FileReference(key, text, "hub", hub_id=found[1], pattern=found[2])
    inside = text.startswith("package:")
    path = Path(text)
    if inside:
        path = inside_package(text)
    paths = _matches(path)
    if not paths:
        above = next(folder for folder in path.parents if folder.is_dir())
        command = f"ls {above}"
        if key == "scoring.reference":
            command = "python -m pytest_wanlora reference --help"
        raise SuiteError(f"{where}: {key}: {path}: no such file", next_command=command)
    return FileReference(key, text, "package" if inside else "file", paths)


def references(suite: Suite) -> Iterator[tuple[str, str]]:
    """Yield (dotted key, reference) for every file of a suite, in the order of the file."""
    model, scoring = suite.model, suite.scoring
    for number, text in enumerate(model.dit):
        yield f"model.dit[{number}]", text
    yield "model.text_encoder", model.text_encoder
    yield "model.vae", model.vae
    yield "model.tokenizer", model.tokenizer
    if scoring.clip.model_is_file:
        yield "scoring.clip.model", scoring.clip.model
    yield "scoring.clip.weights", scoring.clip.weights
    yield "scoring.video_features.weights", scoring.video_features.weights
    yield "scoring.reference", scoring.reference
    for number, scenario in enumerate(suite.scenarios):
        if scenario.input_image is not None:
            yield f"scenarios[{number}].input_image", scenario.input_image
        for name, part in scenario.key_parts().items():
            if isinstance(part, Path):
                yield f"scenarios[{number}].{name}", str(part)


def check_digests(suite: Suite, *, skip: Collection[str] = ()) -> Mapping[Path, str]:
    """Find every local file of a suite and compare it with the digest that the suite states.

    Files without a stated digest only have to exist. Files of the hub are checked by `verify` once they are
    on the disk.

    Args:
        suite: The suite.
        skip: Dotted keys to leave out, such as `scoring.reference` before there is one.

    Returns:
        Digest of every file that was compared.

    Raises:
        SuiteError: Files are missing or differ; names all of them.
    """
    complaints: list[str] = []
    checked: dict[Path, str] = {}
    command: str | None = None
    for key, text in references(suite):
        if key in skip:
            continue
        where = suite.where(key)
        try:
            reference = resolve(text, key=key, where=where)
            checked |= verify(reference.paths, stated(suite, key, text), key=key, where=where)
        except SuiteError as error:
            complaints.append(error.message)
            command = command or error.next_command
    if complaints:
        raise SuiteError("\n".join(complaints), next_command=command)
    return checked


def verify(
    paths: Collection[Path], stated: Mapping[str, str], *, key: str, where: str = "suite"
) -> dict[Path, str]:
    """Compare files with stated digests, by file name.

    Args:
        paths: Existing files; folders are left alone.
        stated: SHA-256 by file name; files that are not named in it are left alone.
        key: Dotted key, for the message.
        where: `file:line` of the key, for the message.

    Returns:
        Digest of every file that was compared.

    Raises:
        SuiteError: A file differs or cannot be read.
    """
    result: dict[Path, str] = {}
    for path in paths:
        expected = stated.get(path.name)
        if expected is None or path.is_dir():
            continue
        try:
            actual = digest(path)
        except OSError as error:
            raise SuiteError(
                f"{where}: {key}: {path}: cannot be read: {error.strerror}", next_command=f"ls -l {path}"
            ) from error
        if actual != expected:
            raise SuiteError(
                f"{where}: {key}: {path}: SHA-256 is {actual}; allowed: {expected}, which the suite states",
                next_command=f"sha256sum {path}",
            )
        result[path] = actual
    return result


def fingerprint(suite: Suite) -> dict[str, Any]:
    """See `Suite.fingerprint`."""
    files = {key: _identity(suite, key, text) for key, text in references(suite) if key.startswith("model.")}
    clip, video = suite.scoring.clip, suite.scoring.video_features
    by_key = dict(references(suite))

    def scored(key: str) -> dict[str, Any]:
        return _identity(suite, key, by_key[key])

    parts = {scenario.id: found for scenario in suite.scenarios if (found := key_parts(scenario))}
    return {
        **({"scenarios": parts} if parts else {}),
        "model": {"files": files, "register": _registered(suite.model.register)},
        "sampling": suite.sampling.identity(),
        "scoring": {
            "clip": {
                "model": scored("scoring.clip.model") if clip.model_is_file else clip.model,
                "weights": scored("scoring.clip.weights"),
            },
            "video_features": {
                "kind": video.kind,
                "module": video.module,
                "weights": scored("scoring.video_features.weights"),
            },
            "reference": scored("scoring.reference"),
            "sharpness_reference": suite.scoring.sharpness_reference,
            "metrics": {metric.id: metric.version for metric in METRICS.values()},
        },
    }


def key_parts(scenario: Scenario) -> dict[str, Any]:
    """What a scenario of an installed type depends on besides its text; files by their digest.

    Raises:
        SuiteError: A file cannot be read.
    """
    found: dict[str, Any] = {}
    for name, part in scenario.key_parts().items():
        try:
            found[name] = {"sha256": digest(part)} if isinstance(part, Path) else part
        except OSError as error:
            raise SuiteError(
                f"scenario {scenario.id}: {name}: {part}: cannot be read: {error.strerror}",
                next_command=f"ls -l {part}",
            ) from error
    return {"type": type(scenario).__qualname__, **found} if found else {}


def _registered(name: str | None) -> str | None:
    """`model.register` as the fingerprint has it: with the version, if an installed package provides it."""
    if name is None or ":" in name:
        return name
    return f"{name} version {added_models()[name].value.version}"


def identity(suite: Suite, key: str) -> dict[str, Any]:
    """Name the content of one file of a suite as `fingerprint` does.

    Args:
        suite: The suite.
        key: Dotted key, `model.text_encoder`.

    Raises:
        SuiteError: A local file is missing or cannot be read.
    """
    return _identity(suite, key, dict(references(suite))[key])


def _identity(suite: Suite, key: str, text: str) -> dict[str, Any]:
    """Name the content of a reference by digests, or by its hub id where no digest is known.

    A single file has one identity, wherever it lies, once its digest is stated.
    """
    digests = stated(suite, key, text)
    reference = resolve(text, key=key, where=suite.where(key))
    if reference.pattern is not None:
        known = sorted(digests.values())
        if known and not _has_magic(reference.pattern):
            return {"sha256": known}
        return {"hub": f"{reference.hub_id}:{reference.pattern}", "sha256": known}
    try:
        return {"sha256": sorted(digests.get(path.name) or digest(path) for path in reference.paths)}
    except OSError as error:
        raise SuiteError(
            f"{suite.where(key)}: {key}: {error.filename}: cannot be read: {error.strerror}",
            next_command=f"ls -l {error.filename}",
        ) from error


def stated(suite: Suite, key: str, text: str) -> dict[str, str]:
    """Return the digests that the suite states for a key's files, by file name."""
    name = text.rsplit(":", 1)[-1].replace("\\", "/").rsplit("/", 1)[-1]
    single = {
        "scoring.clip.weights": suite.scoring.clip.sha256,
        "scoring.video_features.weights": suite.scoring.video_features.sha256,
        "scoring.reference": suite.scoring.reference_sha256,
    }
    if key in single:
        value = single[key]
        return {name: value} if value else {}
    if key.startswith("model."):
        return {
            known: value for known, value in suite.model.sha256.items() if name and fnmatchcase(known, name)
        }
    return {}


def _matches(path: Path) -> tuple[Path, ...]:
    """Return the path itself, or what it matches as a glob; a literal name wins over a glob."""
    if path.exists():
        return (path,)
    anchor = next(folder for folder in path.parents if folder.is_dir())
    rest = path.relative_to(anchor)
    if not _has_magic(str(rest)):
        return ()
    return tuple(sorted(found for found in anchor.glob(str(rest)) if found.is_file()))


def _has_magic(text: str) -> bool:
    return any(character in text for character in "*?[")
