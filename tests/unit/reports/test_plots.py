from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from pytest_wanlora.reports import plots
from pytest_wanlora.reports.plots import Course, Point, Strip
from pytest_wanlora.verdict.judgement import Verdict

CHANGE = st.floats(-50, 50) | st.sampled_from([math.inf, -math.inf, 0.0])


def drawn(svg: Markup) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314  made by the test


def of(root: ET.Element, tag: str, kind: str) -> list[ET.Element]:
    return [each for each in root.iter(tag) if kind in (each.get("class") or "").split()]


def at(element: ET.Element, name: str) -> float:
    return float(element.get(name) or "nan")


def numbers(root: ET.Element) -> list[float]:
    """Every coordinate across."""
    found = []
    for each in root.iter():
        found += [at(each, name) for name in ("x", "x1", "x2", "cx") if each.get(name)]
        found += [float(pair.split(",")[0]) for pair in (each.get("points") or "").split()]
    return found


def shown(**changed: object) -> Strip:
    known: dict[str, object] = {
        "changes": {0: 0.01, 1: 0.2, 5: -0.03},
        "change": 0.06,
        "low": -0.02,
        "high": 0.14,
        "warn": 0.02,
        "fail": 0.15,
    }
    return Strip(**{**known, **changed})  # type: ignore[arg-type]


class TestWords:
    @pytest.mark.parametrize(
        ("change", "words"),
        [(0.204, "20.4% worse"), (-0.5, "50.0% better"), (0.0, "no change"), (math.inf, "infinitely worse")],
    )
    def test_change(self, change: float, words: str) -> None:
        assert plots.worded(change) == words

    @pytest.mark.parametrize("change", [None, math.nan])
    def test_no_change_is_no_number(self, change: float | None) -> None:
        assert plots.worded(change) == "no change can be told"

    @pytest.mark.parametrize(
        ("share", "text"),
        [(0.05, "+5%"), (-0.005, "\N{MINUS SIGN}0.5%"), (0.1234, "+12%"), (0.0, "0%"), (1.05, "+105%")],
    )
    def test_percent(self, share: float, text: str) -> None:
        assert plots.percent(share) == text


class TestStrip:
    def test_better_is_to_the_right_and_the_bands_are_where_they_belong(self) -> None:
        root = drawn(plots.strip(shown(), "t", "d"))
        zero = at(of(root, "line", "zero")[0], "x1")
        warn, fail = of(root, "rect", "z-warn")[0], of(root, "rect", "z-fail")[0]
        assert at(warn, "x") + at(warn, "width") < zero
        assert at(fail, "x") + at(fail, "width") == pytest.approx(at(warn, "x"), abs=0.2)
        dots = {(d[0].text or "")[:6]: at(d, "cx") for d in of(root, "circle", "seed")}
        assert dots["seed 5"] > zero > dots["seed 0"] > at(warn, "x") > dots["seed 1"]

    def test_the_interval_holds_the_change(self) -> None:
        root = drawn(plots.strip(shown(), "t", "d"))
        bar = of(root, "line", "interval")[0]
        mean = [float(p.split(",")[0]) for p in (of(root, "polygon", "mean")[0].get("points") or "").split()]
        assert at(bar, "x2") < min(mean) < max(mean) < at(bar, "x1")
        # its level is in the words beside it: in the plot it would lie on the bands and the baseline
        assert all(at(each, "y") > 40 for each in of(root, "text", "tick"))

    def test_without_an_interval_none_is_drawn(self) -> None:
        root = drawn(plots.strip(shown(low=None, high=None), "t", "d"))
        assert of(root, "line", "interval") == []
        assert len(of(root, "polygon", "mean")) == 1

    def test_a_two_sided_metric_warns_on_the_other_side_too(self) -> None:
        root = drawn(plots.strip(shown(suspicious=0.15, change=-0.3, changes={}), "t", "d"))
        left, right = sorted(at(zone, "x") for zone in of(root, "rect", "z-warn"))
        assert left < at(of(root, "line", "zero")[0], "x1") < right

    def test_an_infinite_change_is_an_arrow_at_the_edge(self) -> None:
        root = drawn(plots.strip(shown(changes={3: math.inf}), "t", "d"))
        arrow = of(root, "polygon", "seed")[0]
        assert arrow[0].text == "seed 3: infinitely worse"
        assert min(numbers(arrow)) < 30

    @given(
        changes=st.dictionaries(st.integers(0, 99), CHANGE, max_size=16),
        change=CHANGE,
        fail=st.floats(0.001, 2),
    )
    def test_nothing_is_drawn_outside(self, changes: dict[int, float], change: float, fail: float) -> None:
        strip = shown(changes=changes, change=change, low=None, high=None, warn=fail / 4, fail=fail)
        root = drawn(plots.strip(strip, "t", "d"))
        assert all(0 <= x <= 320 for x in numbers(root))
        assert len(of(root, "circle", "seed")) + len(of(root, "polygon", "seed")) == len(changes)

    def test_labels_do_not_cover_each_other(self) -> None:
        for fail in (0.01, 0.05, 0.25, 0.4):
            root = drawn(plots.strip(shown(fail=fail, warn=fail / 2), "t", "d"))
            below = [tick for tick in of(root, "text", "tick") if at(tick, "y") > 40]
            places = sorted(at(tick, "x") for tick in below)
            assert all(b - a > 60 for a, b in pairwise(places))


class TestNames:
    def test_they_are_escaped_and_hide_nothing(self) -> None:
        svg = plots.strip(shown(), "<script>\u202e", "a & b </desc>")
        root = drawn(svg)
        assert root[0].text == "<script>\\u202e"
        assert root[1].text == "a & b </desc>"
        assert "<script>" not in svg

    def test_every_plot_is_an_image_with_a_title(self) -> None:
        made = [
            plots.strip(shown(), "t", "d"),
            plots.bars({0: 1.0}, 1, 1.0, "t", "d"),
            plots.bullet(1.0, 0.5, None, "t", "d"),
            plots.shares({"a": 1.0}, [], "t", "d"),
            plots.courses(["a"], [], warn=0.1, fail=0.2, title="t", description="d"),
        ]
        for svg in made:
            assert re.match(
                r'<svg class="plot \w+" viewBox="[\d. ]+" role="img"><title>t</title><desc>d</desc>', svg
            )


class TestCourses:
    def test_up_is_better_and_each_verdict_has_its_shape(self) -> None:
        points = (Point(0.3, Verdict.FAIL), Point(0.05, Verdict.WARN), Point(0.0, Verdict.PASS))
        root = drawn(
            plots.courses(
                ["a", "b", "c"],
                [Course("1", (*points, Point(-0.4, Verdict.BETTER)))],
                warn=0.02,
                fail=0.15,
                title="t",
                description="d",
            )
        )
        line = [
            tuple(map(float, p.split(",")))
            for p in (of(root, "polyline", "course")[0].get("points") or "").split()
        ]
        assert [y for _, y in line] == sorted((y for _, y in line), reverse=True)
        assert [x for x, _ in line] == sorted(x for x, _ in line)
        for kind, tag in (
            ("m-fail", "polygon"),
            ("m-warn", "polygon"),
            ("m-pass", "circle"),
            ("m-better", "polygon"),
        ):
            assert len(of(root, tag, kind)) == 1

    def test_a_checkpoint_without_a_value_leaves_a_gap(self) -> None:
        course = Course("1", (Point(0.1, Verdict.PASS), Point(None, Verdict.ERROR), Point(0.2, Verdict.FAIL)))
        root = drawn(plots.courses(["a", "b", "c"], [course], warn=0.1, fail=0.2, title="t", description="d"))
        assert len((of(root, "polyline", "course")[0].get("points") or "").split()) == 2

    @given(changes=st.lists(st.floats(-3, 3) | st.none(), min_size=1, max_size=20), lines=st.integers(1, 30))
    def test_labels_stay_in_the_picture_and_apart(self, changes: list[float | None], lines: int) -> None:
        courses = [Course(str(i), tuple(Point(c, Verdict.PASS) for c in changes)) for i in range(lines)]
        names = [f"epoch-{i}" for i in range(len(changes))]
        root = drawn(plots.courses(names, courses, warn=0.1, fail=0.2, title="t", description="d"))
        places = sorted(at(each, "y") for each in of(root, "text", "label"))
        assert len(places) == (lines if any(c is not None for c in changes) else 0)
        assert all(b - a > 5 for a, b in pairwise(places))
        assert all(0 <= y <= 190 for y in places)


class TestBars:
    def test_heights_follow_the_values(self) -> None:
        root = drawn(plots.bars({0: 2.0, 1: 4.0}, 2, 4.0, "t", "d"))
        low, high = (at(bar, "height") for bar in of(root, "rect", "bar"))
        assert high == pytest.approx(2 * low, rel=0.01)

    def test_a_block_without_a_norm_is_crossed(self) -> None:
        root = drawn(plots.bars({0: 2.0, 2: 1.0}, 3, 2.0, "t", "d"))
        assert [mark.text for mark in of(root, "text", "absent")] == ["\N{MULTIPLICATION SIGN}"]


class TestBullet:
    @pytest.mark.parametrize(
        ("value", "minimum", "maximum", "kept"),
        [
            (0.6, 0.3, None, True),
            (0.2, 0.3, None, False),
            (700.0, None, 1140.0, True),
            (1200.0, None, 1140.0, False),
        ],
    )
    def test_a_broken_limit_looks_broken(
        self, value: float, minimum: float | None, maximum: float | None, kept: bool
    ) -> None:
        root = drawn(plots.bullet(value, minimum, maximum, "t", "d"))
        assert bool(of(root, "rect", "broken")) is not kept

    def test_what_was_not_measured_has_no_bar(self) -> None:
        assert of(drawn(plots.bullet(None, 0.3, None, "t", "d")), "rect", "bar") == []


def test_rare_shares_are_hatched() -> None:
    root = drawn(plots.shares({"urban": 0.9, "nature": 0.1}, ["nature"], "t", "d"))
    urban, nature = of(root, "rect", "bar")
    hatched = of(root, "rect", "rare")
    assert [at(each, "y") for each in hatched] == [at(nature, "y")]
    assert at(urban, "width") == pytest.approx(9 * at(nature, "width"), rel=0.02)
