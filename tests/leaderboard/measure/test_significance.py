"""The paired bootstrap and the challenge's scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rfdn_plugin.leaderboard.measure import ntire
from rfdn_plugin.leaderboard.measure.significance import compare_all

SETTINGS = {'resamples': 2000, 'confidence': 0.95}


def scores(values) -> dict[str, float]:
    return {f'p{number}': float(value) for number, value in enumerate(values)}


def test_a_steady_difference_is_real_although_images_differ_more():
    base = np.random.default_rng(0).normal(30, 4, 30)
    (pair,) = compare_all({'a': scores(base + 0.05), 'b': scores(base)}, **SETTINGS)
    assert pair['difference'] == pytest.approx(0.05) and not pair['crosses_zero'] and not pair['few_images']


def test_chance_is_recognised():
    rng = np.random.default_rng(0)
    base = rng.normal(30, 4, 30)
    (pair,) = compare_all({'a': scores(base + rng.normal(0, 0.3, 30)), 'b': scores(base)}, **SETTINGS)
    assert pair['crosses_zero'] and pair['low'] < pair['difference'] < pair['high']


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        differences = rng.normal(0.2, 1, 40)
        (pair,) = compare_all({'a': scores(differences), 'b': scores(np.zeros(40))}, resamples=1000, confidence=0.9)
        covered += pair['low'] <= 0.2 <= pair['high']
    assert 0.84 <= covered / 200 <= 0.96


def test_equal_entries_and_few_images():
    (pair,) = compare_all({'a': scores([30, 31, 32]), 'b': scores([30, 31, 32])}, **SETTINGS)
    assert pair['crosses_zero'] and pair['few_images'] and pair['difference'] == 0


def test_all_pairs_in_order_and_the_same_again():
    rng = np.random.default_rng(0)
    entries = {name: scores(rng.normal(30, 1, 12)) for name in 'abc'}
    first, second = (compare_all(entries, **SETTINGS) for _ in range(2))
    assert [(pair['a'], pair['b']) for pair in first] == [('a', 'b'), ('a', 'c'), ('b', 'c')]
    assert first == second


def test_entries_that_cannot_be_paired_are_left_out():
    entries = {'a': scores([30, 31]), 'b': scores([30, math.inf]), 'c': scores([30]), 'd': scores([29, 30])}
    assert [(pair['a'], pair['b']) for pair in compare_all(entries, **SETTINGS)] == [('a', 'd')]
    assert compare_all({'a': scores([30, 31])}, **SETTINGS) == []


@pytest.mark.parametrize('year', ntire.YEARS)
def test_a_baseline_has_the_score_of_a_baseline(year):
    rules = ntire.YEARS[year]
    complete = ntire.score(year, rules.flops, rules.params, 1.0)
    assert complete == {'score': pytest.approx(math.exp(2)), 'complete': True}
    partial = ntire.score(year, rules.flops, rules.params)
    assert partial == {
        'score': pytest.approx((rules.flops_weight + rules.params_weight) * math.exp(2)),
        'complete': False,
    }


def test_weights_of_the_years():
    assert [(y.runtime_weight, y.flops_weight, y.params_weight) for y in ntire.YEARS.values()] == [
        (0.7, 0.15, 0.15),
        (0.7, 0.15, 0.15),
        (0.8, 0.1, 0.1),
    ]
    expected = 0.7 * math.exp(2 * 0.5) + 0.15 * math.exp(2 * 27.046e9 / 19.67e9) + 0.15 * math.exp(2 * 433448 / 317e3)
    assert ntire.score(2024, 27.046e9, 433448, 0.5)['score'] == pytest.approx(expected)
