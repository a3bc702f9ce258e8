"""Which baseline is taken: the user's own, or the package's where the user has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wanlora.baseline import baseline_place


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "package"
    (package / "baselines" / "tiny" / "base").mkdir(parents=True)
    monkeypatch.setattr("pytest_wanlora.baseline.lookup.resources.files", lambda _: package)
    return package / "baselines"


def test_the_packages_own_is_taken_where_the_user_has_none(shipped: Path, tmp_path: Path) -> None:
    root, words = baseline_place(tmp_path / "baselines", "tiny", "base")
    assert root == shipped
    assert words == "the one that comes with the package"


def test_the_users_is_taken_where_there_is_one(shipped: Path, tmp_path: Path) -> None:
    own = tmp_path / "baselines" / "tiny" / "base"
    own.mkdir(parents=True)
    assert baseline_place(tmp_path / "baselines", "tiny", "base") == (tmp_path / "baselines", str(own))


@pytest.mark.parametrize(("suite", "name"), [("tiny", "accepted"), ("other", "base")])
def test_what_the_package_lacks_is_looked_for_at_the_users(
    shipped: Path, tmp_path: Path, suite: str, name: str
) -> None:
    assert baseline_place(tmp_path / "baselines", suite, name)[0] == tmp_path / "baselines"
