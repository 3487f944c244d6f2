"""Intervals hold the truth as often as they say, and two equal models are not called different."""

import numpy as np
import pytest

from van_dense.report.evidence import (
    CONFIDENCE,
    RESAMPLES,
    WeightedEvidence,
    comparable,
    interval_of,
    resampled,
)

REPETITIONS, IMAGES = 200, 120


def evidence(right: np.ndarray, pixels: np.ndarray, **protocol: str) -> WeightedEvidence:
    """Accuracy over pixels, (N,) of them right: a ratio of sums, as IoU is."""

    def measure(weights: np.ndarray) -> dict[str, np.ndarray]:
        return {"accuracy": weights @ right / (weights @ pixels)}

    return WeightedEvidence(list(range(len(right))), protocol, measure)


def draw(rng: np.random.Generator, skill: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    return rng.binomial(pixels, skill).astype(float)


def test_90_percent_intervals_hold_the_truth_in_85_to_95_percent():
    rng, held = np.random.default_rng(0), 0
    # Images differ in size, and the larger ones are harder.
    truth = (60 * 0.9 + 140 * 0.5) / 200
    for seed in range(REPETITIONS):
        is_large = rng.random(IMAGES) < 0.5
        pixels, mean = np.where(is_large, 140, 60), np.where(is_large, 0.5, 0.9)
        skill = np.clip(mean + rng.normal(0, 0.05, IMAGES), 0, 1)
        found = evidence(draw(rng, skill, pixels), pixels)
        interval = found.intervals(["accuracy"], seed=seed)["accuracy"]
        held += interval.low <= truth <= interval.high
    assert 0.85 <= held / REPETITIONS <= 0.95


def test_two_equal_models_are_called_different_in_at_most_a_tenth_of_cases():
    rng, called = np.random.default_rng(1), 0
    pixels = np.full(IMAGES, 100)
    for seed in range(REPETITIONS):
        skill = rng.uniform(0.2, 1, IMAGES)  # hard and easy images, the same for both
        first, second = (evidence(draw(rng, skill, pixels), pixels) for _ in range(2))
        called += first.differences(second, ["accuracy"], seed=seed)["accuracy"].is_clear
    assert 0 < called / REPETITIONS <= 0.1


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_few_images_that_differ_are_not_clear(number):
    first = np.full(200, 50.0)
    second = first + 20 * (np.arange(200) < number)
    one, other = (evidence(right, np.full(200, 100.0)) for right in (first, second))
    for seed in range(10):
        difference = one.differences(other, ["accuracy"], seed=seed)["accuracy"]
        assert not difference.is_clear and difference.low == 0
        assert difference.share < 0.99  # draws without any of them are ties


def test_a_model_is_not_different_from_itself():
    found = evidence(np.array([1.0, 5, 9]), np.full(3, 10))
    difference = found.differences(found, ["accuracy"])["accuracy"]
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert difference.share == 0.5 and not difference.is_clear


def test_a_small_gain_on_every_image_is_clear_though_the_intervals_overlap():
    rng = np.random.default_rng(2)
    first = rng.uniform(10, 90, 50)
    worse, better = (evidence(first + gain, np.full(50, 100.0)) for gain in (0, 1))
    intervals = [one.intervals(["accuracy"])["accuracy"] for one in (worse, better)]
    assert intervals[0].high > intervals[1].low
    difference = worse.differences(better, ["accuracy"])["accuracy"]
    assert difference.is_clear and difference.share == 1
    assert difference.low == pytest.approx(0.01) == difference.high


def test_values_count_each_image_once_and_draws_as_many_images():
    assert evidence(np.array([1.0, 3]), np.array([4.0, 4])).values() == {"accuracy": 0.5}
    draws = np.concatenate(resampled(7))
    assert draws.shape == (RESAMPLES, 7) and (draws.sum(axis=1) == 7).all()


def test_the_same_seed_gives_the_same_interval():
    found = evidence(np.arange(9.0), np.full(9, 10))
    one, other = (found.intervals(["accuracy"], seed=3)["accuracy"] for _ in range(2))
    assert one == other


def test_intervals_leave_out_nan_and_lie_around_the_value():
    drawn = np.concatenate([np.linspace(0, 0.5, 101), [np.nan]])
    found = interval_of(0.7, drawn)
    ends = found.low, found.high
    assert ends == pytest.approx((0.7 - 0.25 * CONFIDENCE, 0.7 + 0.25 * CONFIDENCE))
    assert interval_of(0.1, drawn).low == 0
    nothing = interval_of(np.nan, np.full(3, np.nan))
    assert np.isnan([nothing.low, nothing.high]).all()


def test_what_is_not_comparable_is_named():
    one = evidence(np.ones(2), np.ones(2), kind="semantic")
    other = evidence(np.ones(2), np.ones(2), kind="saliency")
    with pytest.raises(ValueError, match=r"a and b cannot be compared: .*kind"):
        comparable(one, other, ["a", "b"])
    with pytest.raises(ValueError, match=r"a and b cannot be compared: .*1 image"):
        comparable(one, evidence(np.ones(1), np.ones(1), kind="semantic"), ["a", "b"])
