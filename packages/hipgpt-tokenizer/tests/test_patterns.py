"""Pieces are those of the published expressions, and cuts do not change them."""

from __future__ import annotations

import random
import re
import unicodedata

import pytest

from hipgpt_tokenizer.patterns import PUBLISHED, split_pattern

NAMES = sorted(PUBLISHED)


@pytest.fixture(scope="module", params=NAMES)
def pair(request):
    regex = pytest.importorskip("regex", reason="regex knows \\p{L}")
    return split_pattern(request.param), regex.compile(PUBLISHED[request.param])


def known(text):
    """Without the code points that this Python's Unicode lacks: regex may know newer ones."""
    return "".join(char for char in text if unicodedata.category(char) != "Cn")


def test_pieces_equal_regex_on_random_text(pair, random_text):
    pattern, published = pair
    source = random.Random(1)
    for _ in range(20_000):
        text = known(random_text(source))
        assert pattern.split(text) == published.findall(text)


def test_pieces_equal_regex_on_data(pair, read_data):
    pattern, published = pair
    for name in ("tinyshakespeare.txt", "wikitext2-test.txt"):
        text = read_data(name)
        assert pattern.split(text) == published.findall(text)


@pytest.mark.parametrize("name", NAMES)
def test_pieces_and_spans_make_the_text(name, random_text):
    pattern = split_pattern(name)
    source = random.Random(2)
    for _ in range(3000):
        text = random_text(source)
        assert "".join(pattern.split(text)) == text
        assert [text[start:end] for start, end in pattern.spans(text)] == pattern.split(text)


@pytest.mark.parametrize("name", NAMES)
def test_a_cut_does_not_change_the_pieces(name, random_text):
    pattern = split_pattern(name)
    source = random.Random(3)
    for _ in range(10_000):
        text = random_text(source)
        place = pattern.cut(text, source.randrange(len(text) + 1))
        assert pattern.split(text[:place]) + pattern.split(text[place:]) == pattern.split(text)


@pytest.mark.parametrize("name", NAMES)
def test_awkward_places_begin_and_end_pieces(name, random_text):
    pattern = split_pattern(name)
    source = random.Random(4)
    for _ in range(10_000):
        text = random_text(source)
        pieces = []
        start = 0
        for begin, end in pattern.awkward(text):
            assert start <= begin < end
            pieces += pattern.split(text[start:begin]) + pattern.split(text[begin:end])
            start = end
        assert pieces + pattern.split(text[start:]) == pattern.split(text)


def test_an_unknown_pattern_is_refused():
    with pytest.raises(ValueError, match=re.escape("pattern is 'gpt5', expected \"gpt2\"")):
        split_pattern("gpt5")
