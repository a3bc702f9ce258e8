"""Text similarity by the CLIP model that a suite scores with. Importing this module does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.errors import ScoringError

if TYPE_CHECKING:
    from pytest_wanlora.scoring.clip import ClipScorer, ClipSettings


class ClipTextSimilarity:
    """Cosines of CLIP's text embeddings, one text a forward pass.

    What is longer than CLIP's context is cut at a word: captions begin with what is filmed. CLIP reads
    English; in Korean or Chinese its embeddings say next to nothing, so such prompts are not put to it.

    Args:
        settings: A suite's `scoring.clip`.
        device: `"cpu"`, `"cuda:0"`, ...

    Raises:
        ScoringError: The model's files are missing or do not load.
    """

    languages = frozenset({"en"})

    def __init__(self, settings: ClipSettings, *, device: str = "cpu") -> None:
        # torch and open_clip take seconds to import; only who asks for CLIP pays for them
        from pytest_wanlora.scoring.clip import ClipScorer

        self._scorer: ClipScorer = ClipScorer(settings, device=device)
        self._known: dict[str, NDArray[np.float32]] = {}

    def cosines(self, texts: Sequence[str], others: Sequence[str]) -> NDArray[np.float32]:
        """Compare every text with every other; `others` are embedded once and remembered.

        Args:
            texts: At least one.
            others: At least one.

        Returns:
            Shape (texts, others).

        Raises:
            ScoringError: The model returned NaN or infinity.
        """
        for other in others:
            if other not in self._known:
                self._known[other] = self._embed(other)
        embedded = np.stack([self._embed(text) for text in texts])
        return embedded @ np.stack([self._known[other] for other in others]).T

    def _embed(self, text: str) -> NDArray[np.float32]:
        words = text.split()
        while True:
            try:
                self._scorer.check_caption(" ".join(words))
            except ScoringError:
                if len(words) <= 1:
                    raise
                words = words[: len(words) * 3 // 4]
            else:
                return self._scorer.embed_text(" ".join(words))
