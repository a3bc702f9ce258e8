"""The table that compares what is said of other seeds with gates of other seeds."""

from __future__ import annotations

from benchmarks.evidence.other_seeds import rows


def test_each_size_of_what_is_said_stands_beside_what_other_seeds_did() -> None:
    found = [(0.01, False, False), (0.25, True, False), (0.29, True, True), (0.21, False, True)]
    assert list(rows(found)) == [
        ("0% to 2%", "1", "1%", "0% (0% to 98%)", "-", "0% of 1"),
        ("20% to 30%", "3", "25%", "67% (9% to 99%)", "50% of 2", "100% of 1"),
    ]
