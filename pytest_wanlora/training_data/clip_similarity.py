"""The category of a prompt that no word decides: the nearest description, by a suite's CLIP.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pytest_wanlora.errors import DataError, ScoringError
from pytest_wanlora.training_data.rules import Rules

if TYPE_CHECKING:
    from pytest_wanlora.scoring.clip import ClipScorer
    from pytest_wanlora.suite import schema

LOGIT_SCALE = 100.0
"""Where CLIP's own training clips the factor of its cosines (Radford et al. 2021, section 2.5)."""


class TextSimilarity(Protocol):
    """How near texts are to one another, for instance by CLIP's text tower."""

    @property
    def languages(self) -> Collection[str]:
        """Languages that the model reads, out of `categories.LANGUAGES`; no other is put to it."""

    def cosines(self, texts: Sequence[str], others: Sequence[str]) -> NDArray[np.float32]:
        """Compare every text with every other.

        Returns:
            Cosines from -1 to 1, shape (texts, others).
        """


def nearest(
    similarity: TextSimilarity, prompts: Sequence[str], rules: Rules
) -> list[tuple[int, float, float]]:
    """Decide prompts by the nearest description.

    Returns:
        For each prompt the index of the category in `rules.names`, the softmax of the cosines times
        `LOGIT_SCALE` at it (0 to 1, not calibrated), and its cosine.

    Raises:
        DataError: The similarities are not finite, or of another shape.
    """
    if not prompts:
        return []
    cosines = similarity.cosines(prompts, [rules.descriptions[name] for name in rules.names]).astype(
        np.float64
    )
    if cosines.shape != (len(prompts), len(rules.names)) or not np.isfinite(cosines).all():
        raise DataError(f"the text similarity gave {cosines.shape} values or NaN for {len(prompts)} prompts")
    powers = np.exp(LOGIT_SCALE * (cosines - cosines.max(axis=1, keepdims=True)))
    shares = powers / powers.sum(axis=1, keepdims=True)
    best = cosines.argmax(axis=1)
    return [
        (int(place), float(shares[row, place]), float(cosines[row, place])) for row, place in enumerate(best)
    ]


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

    def __init__(self, settings: schema.ClipScorer, *, device: str = "cpu") -> None:
        # torch and open_clip take seconds to import; only who asks for CLIP pays for them
        from pytest_wanlora.scoring.clip import ClipScorer

        self._scorer: ClipScorer = ClipScorer(settings, device=device)
        self._known: dict[str, NDArray[np.float32]] = {}

    def cosines(self, texts: Sequence[str], others: Sequence[str]) -> NDArray[np.float32]:
        """Compare every text with every other; `others` are embedded once and remembered.

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
