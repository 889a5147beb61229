"""What makes results of earlier runs unusable, and what does not."""

from __future__ import annotations

import pytest

from rfdn_plugin.leaderboard.measure.code_version import code_version, meaning_of

CODE = '''"""A module."""
SLOPE = 0.05
"""Of the activation."""


class A:
    """A class."""

    def f(self, x):
        """A function."""
        return x * SLOPE  # a comment
'''


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        ('# a comment', '# another comment'),
        ('"""A module."""\n', ''),
        ('"""Of the activation."""', '"""The slope of the activation."""'),
        ('"""A function."""', '"""Another text."""'),
        ('    """A class."""\n\n', ''),
        ('return x * SLOPE', 'return (x * SLOPE)'),
        ('SLOPE = 0.05\n', '\n\nSLOPE = 0.05\n'),
    ],
)
def test_comments_docstrings_and_layout_mean_nothing(old: str, new: str):
    assert old in CODE and meaning_of(CODE.replace(old, new)) == meaning_of(CODE)


@pytest.mark.parametrize(
    ('old', 'new'), [('0.05', '0.1'), ('x * SLOPE', 'x + SLOPE'), ('def f(self, x)', 'def f(self, x=1)')]
)
def test_code_means_something(old: str, new: str):
    assert meaning_of(CODE.replace(old, new)) != meaning_of(CODE)


def test_the_whole_is_a_digest_of_the_modules_that_compute():
    assert len(code_version()) == 64
