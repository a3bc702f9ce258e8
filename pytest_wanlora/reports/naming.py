"""Names of files that belong to one of several checkpoints, safe on every file system."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord

_SAFE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


def names_of(record: RunRecord) -> dict[str, str]:
    """Candidate to its part of a file's name; no two alike, not even where case makes no difference.

    A name that is not plain ASCII, too long, or alike but for case, gets a digest behind what is left of it.
    """
    names = [card.name for card in record.candidates]
    alike = Counter(name.casefold() for name in names)
    return {name: _safe(name, unique=alike[name.casefold()] == 1) for name in names}


def file_name(record: RunRecord, candidate: str, stem: str, suffix: str) -> str:
    """`receipt.json`, or `receipt-<candidate>.json` in a run of several checkpoints."""
    if len(record.candidates) == 1:
        return f"{stem}{suffix}"
    return f"{stem}-{names_of(record)[candidate]}{suffix}"


def _safe(name: str, *, unique: bool) -> str:
    if unique and _SAFE.fullmatch(name) and not name.endswith("."):
        return name
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:80]
    digest = hashlib.sha256(name.encode("utf-8", errors="surrogatepass")).hexdigest()[:8]
    return f"{plain}-{digest}" if plain else digest
