"""Everything that this package raises on purpose.

::

    WanloraError
      SettingsError        an option or ini value
      SuiteError           a suite file
      CheckpointError      an unreadable or refused LoRA file
      BaselineError        the baseline store: missing, other schema, unreadable
        IncomparableError  a baseline of another fingerprint or environment
        RefusedError       a measurement that may not become a baseline
      JobError             a job could not be rendered, claimed or cached
      StudioError          the model: files missing, not loading, LoRA not applied
      ScoringError         scorer weights missing, degenerate video, empty reference
      RecordError          a run record (results.json)
      DataError            training metadata
        EncodingError      a file in another encoding than UTF-8, which is known
        PackedError        what is read only when the archive that it lies in is unpacked
      ExtensionError       an installed extension of the gate

Only mistakes that a user can mend are raised as one of these; a bug of the package stays the
built-in exception that it is.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LONGEST = 1900
"""Characters of a message in one line that are kept; a list of several may have `LINES` of a third of it."""
LINES = 40
Changed = str | bool | tuple[str, ...]
"""What becomes of an option in the next command."""


class WanloraError(Exception):
    """Root of every error that a user can mend.

    Args:
        message: First line: what is wrong, naming file, key, value and what is allowed. Further
            lines are details.
        next_command: What to type or do next; printed last, as ``next: ...``.
        options: Instead of it, the options to change in the command that was typed: the value to give, True
            for an option without one, False to leave it out, several values to give it several times. The
            command line and the gate print the whole command.

    Attributes:
        message: As given, with long lines cut.
        next_command: As given, or the options in words.
        options: As given.

    Example:
        >>> print(SuiteError("s.yaml:3: seeds.first is 0, allowed is 1 to 16", next_command="edit"))
        s.yaml:3: seeds.first is 0, allowed is 1 to 16
        next: edit
    """

    def __init__(
        self,
        message: str,
        *,
        next_command: str | None = None,
        options: Mapping[str, Changed] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = _limited(message)
        self.options = dict(options or {})
        said = list(map(_said, self.options.items()))
        # of the gate's options the checkpoint alone makes a command
        self.next_command = next_command or (
            f"pytest {' '.join(said)}" if "--lora" in self.options else "; ".join(said) or None
        )

    def __str__(self) -> str:
        if self.next_command is None:
            return self.message
        return f"{self.message}\nnext: {self.next_command}"

    def __reduce__(self) -> tuple[object, ...]:
        # xdist and multiprocessing pickle exceptions; the default would lose the keyword arguments
        return _rebuild, (type(self), vars(self))


class SettingsError(WanloraError):
    """A command line option or an ini value is wrong or contradicts another."""


class SuiteError(WanloraError):
    """A suite file is missing, malformed, or none fits the checkpoint."""


class CheckpointError(WanloraError):
    """A LoRA file cannot be read, or is of a kind that is refused by name."""


class BaselineError(WanloraError):
    """The stored baseline is missing, unreadable, or of another schema version."""


class IncomparableError(BaselineError):
    """The stored baseline was measured with another fingerprint or in another environment."""


class RefusedError(BaselineError):
    """A measurement may not become a baseline; the first line says so, each further one has a reason."""

    @property
    def lines(self) -> tuple[str, ...]:
        """The reasons."""
        return tuple(line.strip() for line in self.message.splitlines()[1:])


class JobError(WanloraError):
    """A job could not be rendered, claimed, or written to the cache.

    Args:
        message: As of `WanloraError`.
        next_command: The same.
        video: Label of the job, which the message then begins with.

    Attributes:
        cause: The message without it, so that one cause of many videos can be told once.
        video: As given.
    """

    def __init__(self, message: str, *, next_command: str | None = None, video: str = "") -> None:
        super().__init__(f"{video}: {message}" if video else message, next_command=next_command)
        self.cause, self.video = _limited(message), video


class StudioError(WanloraError):
    """The model files are missing or do not load, or the LoRA was not applied wholly."""


class ScoringError(WanloraError):
    """A scorer has no weights or no reference, or was given a video that cannot be scored."""


class RecordError(WanloraError):
    """A run record is missing, malformed, or of another schema version."""


class DataError(WanloraError):
    """Training metadata cannot be read or contradicts itself."""


class EncodingError(DataError):
    """A file in a known encoding; `next_command` keeps it under another name and writes it as UTF-8.

    Args:
        message: As of `WanloraError`.
        next_command: The same.
        file: The file.
        encoding: Its encoding, by a name that iconv and Python know.
    """

    def __init__(self, message: str, *, next_command: str, file: Path, encoding: str) -> None:
        super().__init__(message, next_command=next_command)
        self.file = file
        self.encoding = encoding


class PackedError(DataError):
    """What lies in an archive is read only in a folder; `next_command` unpacks it, and reads nothing yet.

    Args:
        message: As of `WanloraError`.
        next_command: The same.
        archive: The archive.
        folder: Where it is unpacked to.
    """

    def __init__(self, message: str, *, next_command: str, archive: Path, folder: Path) -> None:
        super().__init__(message, next_command=next_command)
        self.archive = archive
        self.folder = folder


class ExtensionError(WanloraError):
    """An installed extension cannot be loaded, is incomplete, or uses a name that is taken."""


def _limited(message: str) -> str:
    """A message without what a file with a huge value would put into it."""
    lines = message.splitlines()
    most = LONGEST if len(message) <= LONGEST or len(lines) < 2 else LONGEST // 3
    if len(lines) <= LINES and all(len(line) <= most for line in lines):
        return message
    kept = [line if len(line) <= most else f"{line[:most]}... ({len(line)} characters)" for line in lines]
    more = [f"... and {len(kept) - LINES} lines more"] if len(kept) > LINES else []
    return "\n".join([*kept[:LINES], *more])


def _said(option: tuple[str, Changed]) -> str:
    name, value = option
    if isinstance(value, bool):
        return name if value else f"leave {name} out"
    values = (value,) if isinstance(value, str) else value
    return " ".join(f"{name} {shlex.quote(each)}" for each in values)


def _rebuild(kind: type[WanloraError], attributes: Mapping[str, Any]) -> WanloraError:
    # without the kind's own arguments, which its attributes are made of
    error = kind.__new__(kind, attributes["message"])
    vars(error).update(attributes)
    return error
