"""Every prompt's category with its reason, as a table to look through."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from pytest_wanlora.training_data.categories import UNDECIDED, UNDETERMINED, Categorizer, Decision, Means
from pytest_wanlora.training_data.metadata import Metadata
from pytest_wanlora.training_data.rules import OTHER, Rules
from pytest_wanlora.training_data.similarity import TextSimilarity, nearest

COLUMNS: Final = ("category", "decided_by", "confidence", "language", "reason")
"""Columns that stand after `row`, the video and the prompt."""

_CHUNK = 256
_NO_PROMPT: Final = Decision(OTHER, Means.NOTHING, 0.0, UNDETERMINED, "no prompt")


def decisions(
    metadata: Metadata, rules: Rules, similarity: TextSimilarity | None = None
) -> Iterator[dict[str, Any]]:
    """Decide every row.

    Args:
        metadata: The rows.
        rules: The word lists.
        similarity: Asked where words do not decide.

    Returns:
        For each row its place in the file, video, prompt and `COLUMNS`. A row without a prompt is `other`,
        decided by `nothing`.

    Raises:
        DataError: The metadata cannot be read.
    """
    categorizer = Categorizer(rules)
    rows = iter(metadata)
    while chunk := list(islice(rows, _CHUNK)):
        explained = categorizer.explain([row.prompt or "" for row in chunk])
        decided = [
            _NO_PROMPT if row.prompt is None else decision
            for row, decision in zip(chunk, explained, strict=True)
        ]
        if similarity is not None:
            _ask(similarity, rules, [row.prompt or "" for row in chunk], decided)
        for row, decision in zip(chunk, decided, strict=True):
            yield {
                metadata.unit: row.place,
                "video": row.video or "",
                "prompt": row.prompt or "",
                "category": decision.category,
                "decided_by": decision.means.value,
                "confidence": round(decision.confidence, 3),
                "language": decision.language,
                "reason": decision.reason,
            }


def _ask(similarity: TextSimilarity, rules: Rules, prompts: list[str], decided: list[Decision]) -> None:
    asked = [
        row
        for row, decision in enumerate(decided)
        if decision.means in UNDECIDED and prompts[row] and decision.language in similarity.languages
    ]
    answers = nearest(similarity, [prompts[row] for row in asked], rules)
    for row, (place, confidence, cosine) in zip(asked, answers, strict=True):
        name = rules.names[place]
        decided[row] = replace(
            decided[row],
            category=name,
            means=Means.SIMILARITY,
            confidence=confidence,
            reason=f"nearest to {rules.descriptions[name]!r} (cosine {cosine:.3f})",
        )
