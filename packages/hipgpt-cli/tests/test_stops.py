"""Stop strings, whatever pieces the text comes in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hipgpt_cli.stops import StopFilter

LETTERS = st.text(alphabet="ab\n", max_size=30)


@given(
    st.lists(LETTERS, max_size=8),
    st.lists(st.text(alphabet="ab\n", min_size=1, max_size=5), max_size=3),
)
def test_shows_exactly_what_is_before_the_first_stop(pieces, stops):
    """Joined, what is shown is the text up to its first stop string, and never a part of one."""
    text = "".join(pieces)
    places = [text.find(stop) for stop in stops if stop in text]
    expected = text[: min(places)] if places else text
    stop_filter = StopFilter(stops)
    shown = ""
    for piece in pieces:
        shown += stop_filter.feed(piece)
        assert expected.startswith(shown)
        if stop_filter.found is not None:
            break
    else:
        shown += stop_filter.flush()
    assert shown == expected
    assert (stop_filter.found is not None) == bool(places)


def test_after_a_stop_nothing_more_is_shown():
    stop_filter = StopFilter(["."])
    assert stop_filter.feed("One. Two.") == "One"
    assert stop_filter.feed("more") == ""
    assert stop_filter.flush() == ""


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ValueError, match="empty"):
        StopFilter([""])
