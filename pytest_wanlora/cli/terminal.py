"""Questions on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pytest_wanlora.cli.output import complain, say
from pytest_wanlora.errors import SettingsError, WanloraError

_T = TypeVar("_T")


class Terminal:
    """Asks until an answer can be read.

    Args:
        command: What to type to begin again, for the message when the answers stop.
    """

    def __init__(self, command: str) -> None:
        self._command = command

    def ask(self, question: str, read: Callable[[str], _T], default: str = "") -> _T:
        """Ask one question; Enter takes the default.

        Args:
            read: Makes the answer of its text; raises a `WanloraError` for a text that is not allowed.

        Raises:
            SettingsError: The input ended, or was interrupted.
        """
        shown = f"{question} [{default}]: " if default else f"{question}: "
        while True:
            try:
                answer = input(shown).strip()
            except (EOFError, KeyboardInterrupt) as error:
                say([""])
                raise SettingsError(
                    "stopped at a question; nothing was written", next_command=self._command
                ) from error
            try:
                return read(answer or default)
            except WanloraError as error:
                complain(error.message)

    def agrees(self, question: str, *, default: bool) -> bool:
        """Ask for yes or no."""
        return self.ask(f"{question} yes or no", _yes_or_no, "yes" if default else "no")


def _yes_or_no(text: str) -> bool:
    answer = text.lower()
    if answer not in ("y", "yes", "n", "no"):
        raise SettingsError(f"{text!r} is not allowed; allowed: yes, no")
    return answer in ("y", "yes")
