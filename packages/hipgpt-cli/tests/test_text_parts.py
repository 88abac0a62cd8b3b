"""Text in parts: nothing lost, no token cut."""

import io

from hypothesis import given
from hypothesis import strategies as st

from hipgpt_cli import text_parts
from hipgpt_cli.text_parts import END_OF_TEXT, documents
from hipgpt_tokenizer import Tokenizer


@given(st.text(alphabet="ab é\n\r\t 🙂'", max_size=200))
def test_parts_are_the_text_and_cut_no_token(text):
    """However a text is cut into parts, they join to it, and their ids join to its ids."""
    tokenizer = Tokenizer.train("ab ab\nab  ab\n\n ab 'ab é é", 300, min_frequency=1)
    stream = io.BytesIO(text.encode())
    whole = text_parts.PART_BYTES
    text_parts.PART_BYTES = 5
    try:
        parts = list(text_parts.decoded(stream, "x"))
    finally:
        text_parts.PART_BYTES = whole
    assert "".join(parts) == text
    ids = [id_ for part in parts for id_ in tokenizer.encode(part)]
    assert ids == tokenizer.encode(text)


@given(st.lists(st.text(alphabet="ab\n ", max_size=6), max_size=8), st.data())
def test_documents_are_those_between_the_markers(texts, data):
    """Whatever parts the text comes in (a part never ends inside a marker)."""
    pieces = END_OF_TEXT.join(texts).split(END_OF_TEXT)
    joined = [piece + END_OF_TEXT for piece in pieces[:-1]] + pieces[-1:]
    cut = data.draw(st.integers(0, len(joined)))
    parts = ["".join(joined[:cut]), "".join(joined[cut:])]
    found, begun = [], ""
    for text, last in documents(iter(parts)):
        begun += text
        if last:
            found.append(begun)
            begun = ""
    assert begun == ""
    assert [text for text in found if text.strip()] == [text for text in texts if text.strip()]
