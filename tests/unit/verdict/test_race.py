"""The race's rule: who is dropped, what a loss is, and how often the best is lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pytest_wanlora.metrics import METRICS
from pytest_wanlora.suite import Tolerance
from pytest_wanlora.verdict import fvd
from pytest_wanlora.verdict.evidence import Floats
from pytest_wanlora.verdict.judgement import ToleranceLike
from pytest_wanlora.verdict.race import Epoch, Race, Rules, Sample, Yardstick, worse_than

LOOKS = (3, 4, 6, 8, 12, 16)
BANDS: dict[str, ToleranceLike] = {
    "clip": Tolerance(warn=0.02, fail=0.05),
    "sharpness": Tolerance(warn=0.1, fail=0.2),
    "motion": Tolerance(warn=0.1, fail=0.4),
}
VIDEO = tuple(METRICS[name] for name in BANDS)


def leaving_out(values: Floats) -> Floats:
    """What `Yardstick.losses` gives for a loss that is the mean of one number a seed."""
    n = values.shape[-1]
    return np.concatenate([[values.mean()], (values.sum() - values) / (n - 1)])


def looks_of(per_seed: dict[str, Floats], rules: Rules, failed: dict[int, set[str]] | None = None) -> Race:
    race = Race(tuple(per_seed), rules)
    for n in rules.looks:
        race.look(
            {name: leaving_out(per_seed[name][:n]) for name in race.still_in},
            (failed or {}).get(n, set()),
        )
        if race.over:
            break
    return race


def test_the_levels_of_all_looks_add_up_to_alpha() -> None:
    rules = Rules(LOOKS)
    assert sum(rules.level(i) for i in range(len(LOOKS))) == pytest.approx(rules.alpha)


def test_who_is_far_behind_goes_first_and_who_is_close_later() -> None:
    seeds = np.random.default_rng(0).normal(size=16)
    noise = np.random.default_rng(1).normal(size=(4, 16)) * 0.1
    truth = {"good": 0.0, "close": 0.3, "bad": 3.0, "worst": 6.0}
    race = looks_of(
        {name: loss + seeds + e for (name, loss), e in zip(truth.items(), noise, strict=True)}, Rules(LOOKS)
    )
    assert race.leader == "good"
    assert race.standings["worst"].state == race.standings["bad"].state == "behind"
    assert race.standings["worst"].n == 3
    assert race.standings["close"].n >= race.standings["bad"].n
    assert "bad" not in race.finalists


def test_equals_are_dropped_as_no_better_and_named_as_not_told_apart() -> None:
    seeds = np.random.default_rng(0).normal(size=16)
    race = looks_of(dict.fromkeys("abc", seeds + 0.0), Rules(LOOKS))
    assert race.still_in == ("a",)
    assert race.finalists == ("a", "b", "c")
    assert {race.standings[name].state for name in "bc"} == {"no_better"}
    assert {each.n for each in race.standings.values()} == {3}


def test_who_certainly_fails_is_out_and_does_not_lead() -> None:
    seeds = np.random.default_rng(0).normal(size=16)
    race = looks_of({"broken": seeds - 9.0, "a": seeds, "b": seeds + 5.0}, Rules(LOOKS), {3: {"broken"}})
    assert race.standings["broken"].state == "failed"
    assert race.standings["a"].leader == "a"
    assert race.leader == "a"
    assert race.finalists == ("a",)
    # who was behind may be the best only if those that were not fail after all
    race.fail({"a"})
    assert race.finalists == (race.leader,) == ("b",)
    race.fail({"b", "somebody else"})
    assert not race.finalists


def test_who_has_no_losses_fails_and_if_all_do_nobody_wins() -> None:
    race = Race(("a", "b"), Rules(LOOKS))
    assert race.look({"b": leaving_out(np.zeros(3))}) == ("b",)
    assert race.standings["a"].state == "failed"
    race = Race(("a", "b"), Rules(LOOKS))
    assert race.look({}) == race.finalists == ()
    assert race.leader is None
    assert race.over


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_the_best_is_seldom_lost_to_one_that_it_betters_by_more_than_the_margin(spread: float) -> None:
    rng, lost, races = np.random.default_rng(5), 0, 200
    rules = Rules(LOOKS)
    for _ in range(races):
        shared = rng.normal(size=16)
        per_seed = {str(i): shared + 0.3 * (i > 0) + spread * rng.normal(size=16) for i in range(12)}
        # the best may be missed by chance at the end; it must not be dropped on the way
        lost += looks_of(per_seed, rules).standings["0"].state in ("behind", "no_better")
    # binomial: 10 % of 200 are 20, and 29 or more have a chance of 3 %
    assert lost <= 28


def sample(
    scores: Floats, features: Floats | None = None, reference: fvd.ReferenceSet | None = None
) -> Sample:
    return Sample.of(
        {"s": scores},
        {} if features is None else {"s": features},
        {} if reference is None else {"s": reference},
    )


def yardstick(stored: Floats, objective: str = "mean") -> Yardstick:
    return Yardstick.of(sample(stored), ["s"], VIDEO, BANDS, {}, objective)  # type: ignore[arg-type]  # a literal


BASE = np.array([[2.0, 2.1, 1.9, 2.0], [100.0, 110.0, 90.0, 100.0], [1.0, 1.2, 0.8, 1.0]])


@pytest.mark.parametrize(
    ("factors", "mean", "worst"),
    [
        ((0.95, 1.0, 1.0), 1 / 3, 1.0),
        ((0.95, 0.9, 1.0), 0.5, 1.0),
        # no gain buys off more than one band of loss
        ((1.5, 0.8, 1.0), 0.0, 1.0),
        # a rise beyond its band of a metric that may rise too much is no gain, nor one beside less motion
        ((1.0, 1.3, 1.0), 0.0, 0.0),
        ((1.0, 1.2, 0.8), 0.5 / 3, 0.5),
        ((1.0, 1.1, 1.0), -0.5 / 3, 0.0),
    ],
)
def test_a_loss_is_the_mean_or_the_worst_change_in_fail_bands(
    factors: tuple[float, ...], mean: float, worst: float
) -> None:
    own = sample(BASE * np.array(factors)[:, None])
    assert yardstick(BASE).losses(own, sample(BASE))[0] == pytest.approx(mean)
    assert yardstick(BASE, "worst").losses(own, sample(BASE))[0] == pytest.approx(worst)


def test_a_loss_without_a_seed_is_that_of_the_others() -> None:
    rng = np.random.default_rng(3)
    own = BASE * rng.uniform(0.96, 1.0, size=BASE.shape)
    reference = fvd.ReferenceSet.of(rng.normal(size=(40, 6)))
    vectors = [rng.normal(size=(4, 6)) + shift for shift in (0.5, 0.7)]
    bands = {**BANDS, "fvd": Tolerance(warn=0.1, fail=0.25)}

    def losses(kept: list[int]) -> Floats:
        stored = sample(BASE, vectors[0], reference)
        measure = Yardstick.of(stored, ["s"], VIDEO, bands, {"s": reference})
        sides = (
            sample(of[:, kept], rows[kept], reference) for of, rows in ((own, vectors[1]), (BASE, vectors[0]))
        )
        return measure.losses(*sides)

    whole = losses([0, 1, 2, 3])
    assert whole.shape == (5,)
    for seed in range(4):
        assert whole[1 + seed] == pytest.approx(losses([i for i in range(4) if i != seed])[0])
    videos = fvd.Videos.of(vectors[1], reference)
    above = np.subtract(*fvd.distance(videos, np.arange(4)))
    assert fvd.leaving_out(vectors[1], reference)[0] == pytest.approx(above)


def _training(means: Sequence[float], seed: int, n: int = 12, noise: float = 0.3) -> list[Epoch]:
    """Epochs whose losses are means over seeds, with most of the noise in common."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n) * 2 * noise
    epochs = []
    for mean in means:
        values = mean + common + rng.normal(size=n) * noise
        looks = {
            k: [values[:k].mean(), *(np.delete(values[:k], i).mean() for i in range(k))]
            for k in {min(4, n), n}
        }
        epochs.append(Epoch((looks,)))
    return epochs


class TestWorseThan:
    RULES = Rules((), alpha=0.05)

    def test_epochs_that_lost_much_are_worse_than_the_best_before_them(self) -> None:
        epochs = _training([0.6, 0.1, 0.12, 1.9, 2.0], seed=0)
        assert worse_than(epochs, 2, self.RULES) == 1
        assert worse_than(epochs[:4], 2, self.RULES) is None  # the epoch before the last is not
        assert worse_than(epochs[:2], 2, self.RULES) is None  # nothing comes before them

    @pytest.mark.parametrize("n", [3, 12])
    def test_in_trainings_without_a_difference_it_is_said_in_at_most_5_percent(self, n: int) -> None:
        said = sum(
            any(worse_than(epochs[:count], 1, self.RULES) is not None for count in range(2, len(epochs) + 1))
            for epochs in (_training([0.2] * 8, seed, n) for seed in range(300))
        )
        assert said <= 15 + 2.3 * np.sqrt(300 * 0.05 * 0.95)

    def test_epochs_are_paired_at_the_look_that_both_have(self) -> None:
        epochs = _training([0.1, 0.2, 5.0], seed=1)
        short = Epoch(({4: epochs[2].losses[0][4]},))
        assert worse_than([*epochs[:2], short], 1, self.RULES) == 0
        none = Epoch(({5: [0.0] * 6},))
        assert worse_than([*epochs[:2], none], 1, self.RULES) is None

    def test_no_strength_may_save_the_later_epoch(self) -> None:
        early, late, same = (each.losses[0] for each in _training([0.1, 4.0, 0.1], seed=2))
        assert worse_than([Epoch((early,)), Epoch((late, late))], 1, self.RULES) == 0
        assert worse_than([Epoch((early,)), Epoch((late, same))], 1, self.RULES) is None

    def test_broken_videos_are_worse_than_a_loss_and_nothing_known_is_not(self) -> None:
        known = _training([0.1], seed=3)
        assert worse_than([*known, Epoch((), fails=True)], 1, self.RULES) == 0
        assert worse_than([*known, Epoch(())], 1, self.RULES) is None
        assert worse_than([Epoch((), fails=True), *known], 1, self.RULES) is None
