from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from benchmarks.gpu import loras
from benchmarks.gpu.profile import Part, seconds_of, timed


def _slowly(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_calls_are_timed_and_come_out_as_before() -> None:
    owner = SimpleNamespace(first=_slowly, second=_slowly, never=_slowly)
    with timed(
        [Part("work", owner, "first"), Part("work", owner, "second"), Part("idle", owner, "never")]
    ) as s:
        assert owner.first(0.02) == 0.02
        assert owner.second(seconds=0.03) == 0.03
    assert owner.first is owner.second is _slowly
    assert s.keys() == {"work"}
    assert 0.05 <= s["work"] < 5.0


def test_a_part_that_raised_is_timed_too() -> None:
    owner = SimpleNamespace(work=lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError), timed([Part("work", owner, "work")]) as seconds:
        owner.work()
    assert seconds.keys() == {"work"}


def test_every_part_of_putting_a_lora_on_is_where_it_is_looked_for() -> None:
    with timed(loras._PARTS) as seconds:
        pass
    assert seconds == {}
    with pytest.raises(AttributeError), timed([Part("gone", loras, "no_such_function")]):
        pass


def test_seconds_are_those_of_one_call() -> None:
    calls: list[float] = []
    seconds = seconds_of(lambda: calls.append(_slowly(0.02)), repeats=3)
    assert len(calls) == 3
    assert 0.02 <= seconds < 5.0
