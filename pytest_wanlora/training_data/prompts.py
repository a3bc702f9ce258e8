"""All prompts of a file, kept on disk: memory holds 8 bytes a prompt."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray


class PromptStore:
    """Prompts by row, appended once, then read at random from a temporary file without a name.

    Use it as a context manager, or call `close`.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  `close` closes it
        self._ends: list[NDArray[np.int64]] = []
        self._all_ends: NDArray[np.int64] | None = None
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def extend(self, prompts: Iterable[str | None]) -> None:
        """Append prompts; None where a row has none.

        Args:
            prompts: The next rows' prompts.
        """
        encoded = [(prompt or "").encode("utf-8", "surrogatepass") for prompt in prompts]
        ends = np.cumsum([len(text) for text in encoded], dtype=np.int64) + self._size
        if len(ends):
            self._file.seek(self._size)
            self._file.write(b"".join(encoded))
            self._size = int(ends[-1])
            self._ends.append(ends)
            self._all_ends = None

    def __len__(self) -> int:
        return len(self._offsets())

    def __getitem__(self, row: int) -> str:
        """The prompt of a row, empty where it has none."""
        ends = self._offsets()
        start = int(ends[row - 1]) if row else 0
        if start == ends[row]:
            return ""
        self._file.seek(start)
        return self._file.read(int(ends[row]) - start).decode("utf-8", "surrogatepass")

    def present(self) -> NDArray[np.bool_]:
        """Which rows have a prompt, shape (rows,)."""
        return np.diff(self._offsets(), prepend=0) > 0

    def _offsets(self) -> NDArray[np.int64]:
        if self._all_ends is None:
            self._all_ends = np.concatenate(self._ends) if self._ends else np.zeros(0, dtype=np.int64)
            self._ends = [self._all_ends]
        return self._all_ends
