"""Where text comes from, and how it is cut."""

import io

import pytest

from hipgpt_cli import corpus, text_parts
from hipgpt_cli.corpus import END_OF_TEXT, Corpus, open_corpus, read_text
from hipgpt_cli.errors import UserError


def documents(made: Corpus) -> list[str]:
    """The whole documents."""
    found, begun = [], ""
    for text, last in made.parts():
        begun += text
        if last:
            found.append(begun)
            begun = ""
    assert begun == ""
    return found


def test_a_file_is_one_document_kept_to_the_byte(tmp_path):
    path = tmp_path / "My text.txt"
    path.write_bytes("one\r\ntwo\n  thrée 🙂\n".encode())
    made = open_corpus(str(path))
    assert documents(made) == ["one\r\ntwo\n  thrée 🙂\n"]
    assert made.name == "My-text"
    assert made.source == str(path)
    assert made.bytes == path.stat().st_size


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfhello")
    assert documents(open_corpus("a.txt")) == ["hello"]


def test_end_of_text_marks_a_document(tmp_path):
    """The marker of published text files ends a document; empty documents are left out."""
    (tmp_path / "a.txt").write_text(f"one\n{END_OF_TEXT}\n\n{END_OF_TEXT}two{END_OF_TEXT}")
    assert documents(open_corpus("a.txt")) == ["one\n", "two"]


def test_a_folder_is_read_in_order_and_without_what_is_no_text(tmp_path):
    folder = tmp_path / "texts"
    (folder / "b").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name, data in {
        "b/z.txt": b"second", "a.txt": b"first", "picture.png": b"\x89PNG\0", ".hidden": b"no",
        ".git/config": b"no", "latin.txt": b"caf\xe9",
    }.items():  # fmt: skip
        (folder / name).write_bytes(data)
    made = open_corpus(str(folder))
    assert documents(made) == ["first", "second"]
    assert [path.name for path in made.skipped] == ["latin.txt", "picture.png"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"\x89PNG\0", "is not text: byte 4 is zero"),
        (b"ab\xffc", "is not UTF-8 text: byte 2 is 0xff"),
        ("hello".encode("utf-16"), "is not text"),
        (b"cut \xe2\x82", "is not UTF-8 text: byte 4 is 0xe2"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, data, said):
    (tmp_path / "x.txt").write_bytes(data)
    with pytest.raises(UserError, match=said):
        open_corpus("x.txt")


def test_bad_byte_far_inside_is_named_by_its_place(tmp_path, monkeypatch):
    """Parts do not shift the count, nor does a character that spans two of them."""
    monkeypatch.setattr(text_parts, "PART_BYTES", 7)
    (tmp_path / "x.txt").write_bytes("ααααααα".encode() + b"\xff")
    with pytest.raises(UserError, match="byte 14 is 0xff"):
        list(open_corpus("x.txt").parts())


@pytest.mark.parametrize("source", ["missing.txt", "a\0b", "x" * 5000])
def test_no_such_text(source):
    with pytest.raises(UserError, match="there is no such file or folder"):
        open_corpus(source)


def test_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no file with UTF-8 text"):
        open_corpus("empty")


def test_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe\n")))
    made = open_corpus("-")
    assert documents(made) == ["from a pipe\n"]
    assert made.source == "-"


def test_standard_library_is_there_and_bounded():
    made = open_corpus("stdlib")
    assert 1_000_000 < made.bytes <= corpus.STDLIB_BYTES
    names = [path.as_posix() for path in made.files]
    assert all(name.endswith(".py") for name in names)
    assert not any(
        "/test/" in name or "/tests/" in name or "site-packages" in name for name in names
    )
    assert names == [path.as_posix() for path in open_corpus("stdlib").files]


def test_a_python_without_sources(monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / name))
    with pytest.raises(UserError, match="give a text of your own with --data FILE"):
        open_corpus("stdlib")


def test_hash_depends_on_text_and_on_borders(tmp_path):
    for name, text in {"a": "one", "b": "two"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.txt").write_text(text)
    (tmp_path / "c").mkdir()
    for number, text in enumerate(["o", "ne"]):
        (tmp_path / "c" / f"{number}.txt").write_text(text)
    hashes = {name: open_corpus(name).sha256() for name in "abc"}
    assert len(set(hashes.values())) == 3
    assert hashes["a"] == open_corpus("a").sha256()


def test_read_text_keeps_the_borders(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "1").write_text("one")
    (tmp_path / "f" / "2").write_text("two")
    assert read_text("f") == f"one{END_OF_TEXT}two"


def test_read_text_of_a_file_is_the_file(tmp_path):
    """Also where it ends with the marker, or holds white space alone between two."""
    text = f"one{END_OF_TEXT} {END_OF_TEXT}two\r\n{END_OF_TEXT}"
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert read_text("a.txt") == text


def test_no_standard_input_at_all(monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match="there is no standard input"):
        open_corpus("-")
