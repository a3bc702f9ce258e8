"""Entry points of installed packages: what is accepted, and how each mistake is named."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from pytest_wanlora import metrics, registry
from pytest_wanlora.errors import ExtensionError, ScoringError
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite.schema import default_tolerances

Declare = Callable[..., None]
GOOD = "Metric('glow', 'Glow', '', True, 'video', tolerance=(0.1, 0.2), score=lambda v: v.mean())"


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Declare]:
    """Make a package with one entry point importable."""
    monkeypatch.syspath_prepend(str(tmp_path))
    known = (
        registry._entry_points.cache_clear,
        metrics._registered.cache_clear,
        metrics.added_code.cache_clear,
    )

    def write(code: str, *, name: str = "glow", group: str = "wanlora.metrics", package: str = "one") -> None:
        (tmp_path / f"declared_{package}.py").write_text(f"from pytest_wanlora import Metric\nIT = {code}\n")
        info = tmp_path / f"wanlora_{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: wanlora-{package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = declared_{package}:IT\n")
        monkeypatch.delitem(__import__("sys").modules, f"declared_{package}", raising=False)
        for clear in known:
            clear()

    yield write
    monkeypatch.undo()
    for clear in known:
        clear()


def test_a_metric_of_a_package_comes_after_the_built_in_ones(declare: Declare) -> None:
    declare(GOOD)
    assert list(METRICS) == [*metrics.BUILT_IN, "glow", *metrics.QUESTIONS]
    assert default_tolerances()["glow"].fail == 0.2


def test_without_a_tolerance_it_is_not_gated(declare: Declare) -> None:
    declare(GOOD.replace("tolerance=(0.1, 0.2), ", ""))
    assert "glow" in METRICS
    assert "glow" not in default_tolerances()


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("1 / 0", "it cannot be loaded: ZeroDivisionError: division by zero"),
        ("len", "it is of type builtin_function_or_method; allowed: pytest_wanlora.Metric"),
        (GOOD.replace("'glow'", "'shine'"), "its id is 'shine'; allowed: the name of the entry point"),
        (GOOD.replace("'Glow'", "''"), "title is empty"),
        (GOOD.replace("'video'", "'clip'"), "level is 'clip'; allowed: 'video', 'set'"),
        (GOOD.replace("'video'", "'set'"), "score_set is missing: a metric of level 'set' needs it"),
        (GOOD.replace("score=", "score_set="), "score is missing: a metric of level 'video' needs it"),
        (GOOD.replace("score=", "score_set=len, score="), "score_set is given; allowed for level 'video'"),
        (GOOD.replace("score=", "version=0, score="), "version is 0; allowed: 1 or more"),
        (GOOD.replace("(0.1, 0.2)", "(0.3, 0.2)"), r"tolerance is \(0.3, 0.2\); allowed: 0 <= warn <= fail"),
    ],
)
def test_a_mistake_names_the_package_the_entry_point_and_what_is_wrong(
    declare: Declare, code: str, complaint: str
) -> None:
    declare(code)
    with pytest.raises(ExtensionError, match=complaint) as caught:
        len(METRICS)
    assert caught.value.message.startswith("wanlora-one 1.0: entry point glow = declared_one:IT of wanlora.m")
    assert caught.value.next_command == "pip uninstall wanlora-one"


def test_two_packages_must_not_provide_one_name(declare: Declare) -> None:
    declare(GOOD)
    declare(GOOD, package="two")
    with pytest.raises(ExtensionError, match=r"wanlora-two 1.0.*'glow' is already provided by wanlora-one"):
        len(METRICS)


def test_a_name_must_be_fit_for_files_and_test_ids(declare: Declare) -> None:
    declare(GOOD, name="Glow-1")
    with pytest.raises(ExtensionError, match=r"the name is 'Glow-1'; allowed: lower-case letters"):
        len(METRICS)


def test_a_group_that_nothing_reads_is_refused(declare: Declare) -> None:
    declare(GOOD, group="wanlora.metric")
    with pytest.raises(ExtensionError, match=r"of wanlora.metric: there is no such group; allowed: wanlora"):
        registry.check_groups()


def test_what_is_installed_is_gone_through_once(declare: Declare, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(GOOD)
    found = metadata.entry_points()
    passes = iter([found])
    monkeypatch.setattr(metadata, "entry_points", lambda: next(passes))
    registry.check_groups()
    for group in registry.GROUPS:
        registry.extensions(group, object)
    assert next(passes, None) is None


VIDEO = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)


def test_only_metrics_of_packages_are_scored_here(declare: Declare) -> None:
    declare(GOOD)
    assert metrics.added_scores(VIDEO) == {"glow": VIDEO.mean()}
    assert metrics.added_set_scores(np.zeros((2, 3))) == {}


def test_a_set_is_scored_by_its_features(declare: Declare) -> None:
    declare(GOOD.replace("'video'", "'set'").replace("score=", "score_set="))
    assert metrics.added_set_scores(np.ones((2, 3))) == {"glow": 1.0}
    assert metrics.added_scores(VIDEO) == {}


@pytest.mark.parametrize(
    ("score", "complaint"),
    [
        ("1 / 0", r"metric glow failed on an array of shape \(2, 4, 4, 3\): ZeroDivisionError"),
        ("float('nan')", "metric glow returned nan; allowed: a finite number"),
        ("v.fill(0)", "ValueError: assignment destination is read-only"),
    ],
)
def test_a_score_that_is_none_is_an_error(declare: Declare, score: str, complaint: str) -> None:
    declare(GOOD.replace("v.mean()", score))
    with pytest.raises(ScoringError, match=complaint):
        metrics.added_scores(VIDEO)


def test_a_score_that_raises_names_its_line(declare: Declare) -> None:
    declare(GOOD.replace("v.mean()", "1 / 0"))
    with pytest.raises(ScoringError, match=r"ZeroDivisionError: division by zero \(.*declared_one\.py:\d+\)"):
        metrics.added_scores(VIDEO)


def test_a_changed_file_is_another_code(declare: Declare) -> None:
    assert metrics.added_code() == {}
    declare(GOOD)
    (before,) = metrics.added_code().items()
    path = Path(inspect.getfile(METRICS["glow"].score or test_a_changed_file_is_another_code))
    path.write_text(path.read_text(encoding="utf-8") + "# measured again\n", encoding="utf-8")
    # as the next process does
    metrics.added_code.cache_clear()
    (after,) = metrics.added_code().items()
    assert before[0] == after[0] == "glow"
    assert before[1] != after[1] == hashlib.sha256(path.read_bytes()).hexdigest()
