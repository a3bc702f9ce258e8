"""Which baseline is taken: the user's own, or the package's where the user has none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_wanlora.baseline import baseline_place, compared_with, load_baseline
from pytest_wanlora.errors import BaselineError
from pytest_wanlora.suite import load


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


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_the_users_link_to_nothing_is_not_passed_over(shipped: Path, tmp_path: Path) -> None:
    own = tmp_path / "baselines" / "tiny" / "base"
    own.parent.mkdir(parents=True)
    own.symlink_to("nowhere")
    assert baseline_place(tmp_path / "baselines", "tiny", "base") == (tmp_path / "baselines", str(own))


def test_a_baseline_of_the_package_is_there_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="Stored for this suite: base") as caught:
        load_baseline(load("tiny"), tmp_path, "accepted")
    again = "pytest --wanlora-baseline={}".format
    assert compared_with("accepted", caught.value, again) == "pytest --wanlora-baseline=base"
    damaged = BaselineError("not JSON", next_command="pytest --lora FILE --update-baselines")
    assert compared_with("accepted", damaged, again) == "pytest --wanlora-baseline=base"
    assert compared_with("base", damaged, again) == damaged.next_command
    assert compared_with("/a/folder", damaged, again) == damaged.next_command


@pytest.mark.parametrize(("suite", "name"), [("tiny", "accepted"), ("other", "base")])
def test_what_the_package_lacks_is_looked_for_at_the_users(
    shipped: Path, tmp_path: Path, suite: str, name: str
) -> None:
    assert baseline_place(tmp_path / "baselines", suite, name)[0] == tmp_path / "baselines"
