"""Extension points: what installed packages add to the gate, found by their entry points."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final, Generic, TypeVar

from pytest_wanlora.errors import ExtensionError

T = TypeVar("T")

GROUPS: Final = (
    "wanlora.metrics",
    "wanlora.scenarios",
    "wanlora.models",
    "wanlora.lora_formats",
    "wanlora.reports",
)
"""Every entry-point group that is read."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class ExtensionFile:
    """A file that an extension needs, checked before anything is rendered.

    Attributes:
        path: Where it is on this machine.
        size: In bytes.
        sha256: Of its content, in lower case.
    """

    path: Path
    size: int
    sha256: str


@dataclass(frozen=True)
class Extension(Generic[T]):
    """What one entry point provides.

    Attributes:
        name: Of the entry point; the id of what it provides.
        group: Of the entry point.
        distribution: Name and version of the package that declares it.
        reference: `module:attribute`.
        value: The loaded object.
    """

    name: str
    group: str
    distribution: str
    reference: str
    value: T

    def wrong(self, what: str) -> ExtensionError:
        """The error for an extension that cannot be used."""
        package = self.distribution.partition(" ")[0]
        return ExtensionError(
            f"{self.distribution}: entry point {self.name} = {self.reference} of {self.group}: {what}",
            next_command=f"pip uninstall {package}",
        )

    def files(self) -> tuple[ExtensionFile, ...]:
        """The files that it names in its attribute `files`, if it has one."""
        return tuple(getattr(self.value, "files", ()))


def extensions(group: str, kind: type[T], *, taken: Collection[str] = ()) -> tuple[Extension[T], ...]:
    """Load the extensions of a group, sorted by name.

    Args:
        group: One of `GROUPS`.
        kind: What every entry point of the group must name an instance of.
        taken: Names that the package itself provides.

    Raises:
        ExtensionError: An entry point has a name that is taken or not allowed, it cannot be loaded, or what
            it names has another type.
    """
    owners = dict.fromkeys(taken, "pytest-wanlora")
    found = []
    for name, value, distribution in sorted(_entry_points().get(group, ())):
        about = Extension(name, group, distribution, value, None)
        if not _NAME.fullmatch(name):
            raise about.wrong(f"the name is {name!r}; allowed: lower-case letters, digits and underscores")
        if name in owners:
            raise about.wrong(f"{name!r} is already provided by {owners[name]}")
        owners[name] = distribution
        loaded = _load(about)
        if not isinstance(loaded, kind):
            name_of_kind = f"pytest_wanlora.{kind.__name__}"
            raise about.wrong(f"it is of type {type(loaded).__name__}; allowed: {name_of_kind}")
        found.append(Extension(name, group, distribution, value, loaded))
    return tuple(found)


def check_groups() -> None:
    """Refuse entry points of groups that nothing reads, such as `wanlora.metric`.

    Raises:
        ExtensionError: There is one.
    """
    for group, points in _entry_points().items():
        if group not in GROUPS:
            name, value, distribution = min(points)
            about = Extension(name, group, distribution, value, None)
            raise about.wrong(f"there is no such group; allowed: {', '.join(GROUPS)}")


@cache
def _entry_points() -> Mapping[str, Set[tuple[str, str, str]]]:
    """Name, reference, and distribution of each entry point, by its group.

    All groups from one pass over what is installed, which takes as long as a pass for one of them.
    """
    found = metadata.entry_points()
    return {
        group: {
            (point.name, point.value, f"{point.dist.name} {point.dist.version}" if point.dist else "unknown")
            for point in found.select(group=group)
        }
        for group in found.groups
        if group.startswith("wanlora.")
    }


def _load(about: Extension[None]) -> object:
    try:
        return metadata.EntryPoint(about.name, about.reference, about.group).load()
    # the module is not ours: whatever it raises, the run must not begin without it
    except Exception as error:
        raise about.wrong(f"it cannot be loaded: {type(error).__name__}: {error}") from error
