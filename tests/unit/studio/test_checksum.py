"""Any tensor may change, the large and the small, and its parts may change places."""

from __future__ import annotations

import pytest
import torch

from pytest_wanlora.studio.checksum import checksum


class TestChecksum:
    @pytest.fixture
    def model(self) -> torch.nn.Module:
        model = torch.nn.Module()
        generator = torch.Generator().manual_seed(0)
        # 1.2 MiB in rows of 1024 with a rest of 10, and a small one with a rest alone
        for name, size in (("large", 300 * 1024 + 10), ("small", 100)):
            model.register_buffer(name, torch.rand(size, generator=generator))
        return model

    @pytest.mark.parametrize(
        ("name", "one", "other"),
        [
            ("large", 5, 6),
            ("large", 5, 5 + 1024),
            ("large", 300 * 1024 + 3, 300 * 1024 + 4),
            ("large", 0, 300 * 1024 + 9),
            ("small", 3, 4),
        ],
        ids=["within a row", "within a column", "within the rest", "to the rest", "a small one"],
    )
    def test_two_values_that_change_places_are_seen(
        self, model: torch.nn.Module, name: str, one: int, other: int
    ) -> None:
        before = checksum(model)
        values = model.get_buffer(name)
        values[[one, other]] = values[[other, one]]
        after = checksum(model)
        assert before != after
        # both sums are of the whole tensor: one sees what the other may not
        assert [place for place, _, _ in before] == [place for place, _, _ in after]
        assert checksum(model) == after

    @pytest.mark.parametrize(("name", "place"), [("large", 77), ("large", 300 * 1024), ("small", 0)])
    def test_one_value_that_changes_is_seen(self, model: torch.nn.Module, name: str, place: int) -> None:
        before = checksum(model)
        model.get_buffer(name)[place] += 1.0
        assert checksum(model) != before
