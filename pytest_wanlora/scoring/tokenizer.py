"""A byte-level tokenizer for small CLIP models: 259 ids instead of the 49 408 of open_clip's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pytest_wanlora.scoring.captions import BYTE_OFFSET, cleaned, encode_bytes


class ByteTokenizer:
    """Turn text into ids of its UTF-8 bytes, in the form open_clip's text tower expects.

    Every row is `BOS, byte + OFFSET ..., EOS, PAD ...`. The end mark is the largest id, because the `argmax`
    pooling of open_clip's text tower reads the output at the position of the highest id in a row. Text is
    lower-cased and its white space collapsed, as open_clip's own tokenizer does.

    Args:
        context_length: Ids a row. Longer text is cut between two characters and still ends with the end mark.

    Raises:
        ValueError: `context_length` leaves no room for a byte between the two marks.
    """

    PAD = 0
    BOS = 1
    OFFSET = BYTE_OFFSET
    EOS = 258
    VOCAB_SIZE = 259

    def __init__(self, context_length: int) -> None:
        if context_length < 3:
            raise ValueError(f"context_length must be at least 3, got {context_length}")
        self.context_length = context_length

    def encode(self, text: str) -> list[int]:
        """Return the ids of all of a text, without marks, padding or a cut."""
        return encode_bytes(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of a row; marks and padding are dropped."""
        kept = bytes(i - self.OFFSET for i in ids if self.OFFSET <= i < self.EOS)
        return kept.decode("utf-8", errors="replace")

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> torch.Tensor:
        """Return int64 ids of shape (texts, context_length), the call of open_clip's tokenizers."""
        if context_length is not None and context_length != self.context_length:
            raise ValueError(
                f"context_length must be {self.context_length}, the tokenizer's own, got {context_length}"
            )
        rows = [texts] if isinstance(texts, str) else list(texts)
        result = torch.full((len(rows), self.context_length), self.PAD, dtype=torch.int64)
        for row, text in enumerate(rows):
            ids = [self.BOS, *self.encode(self._cut(text)), self.EOS]
            result[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return result

    def _cut(self, text: str) -> str:
        room = self.context_length - 2
        return cleaned(text).encode("utf-8")[:room].decode("utf-8", errors="ignore")
