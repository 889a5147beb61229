"""Words of messages that several commands use."""

import pytest

from rfdn_plugin.utils.text import counted, shown, some_of


@pytest.mark.parametrize(('number', 'words'), [(0, '0 images'), (1, '1 image'), (2, '2 images')])
def test_a_number_and_its_noun(number: int, words: str):
    assert counted(number, 'image') == words


def test_an_irregular_plural():
    assert counted(1, 'entry', 'entries') == '1 entry' and counted(3, 'entry', 'entries') == '3 entries'


def test_names_are_shown_on_one_line():
    assert shown('a\nb\x1b[31m\u2028é日') == r'a\nb\x1b[31m\u2028é日'
    assert some_of(['a\n', 'b', 'c'], 2) == r'a\n, b and 1 more'
