"""Documents out of files and data sets; behind every place they are the rest, no more, no less."""

import gzip
import json
import warnings

import pytest

from hipgpt_cli.data_clean import WikiText
from hipgpt_cli.data_files import FileSource
from hipgpt_cli.data_hub import HubSource
from hipgpt_cli.errors import UserError

TEXTS = [f"document {number}\nwith a second line, {'x' * number}" for number in range(40)]


def write_json_lines(path, texts=TEXTS, name="text"):
    path.write_text("".join(json.dumps({name: text, "id": 1}) + "\n" for text in texts))


def write_parquet(path, texts=TEXTS, row_group_size=7):
    pa = pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": texts, "n": range(len(texts))}), path, row_group_size)


def texts_of(source, start=None):
    return [document.text for document in source.documents(start)]


def check_every_place(source):
    """Going on behind any document gives what follows it, and so does any chunk."""
    for size in (1, 60, 10**6):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hipgpt_cli.data_documents.CHUNK_BYTES", size)
            found, start = [], None
            while chunk := next(source.chunks(start), None):
                found += [text for text, _ in chunk.texts()]
                start = json.loads(json.dumps(chunk.after))
        assert found == texts_of(source)
    whole = list(source.documents(None))
    for number, document in enumerate(whole):
        after = json.loads(json.dumps(document.after))
        rest = [other.text for other in source.documents(after)]
        assert rest == [other.text for other in whole[number + 1 :]]


def test_json_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    write_json_lines(path, [*TEXTS, "", "  \n"])
    source = FileSource([path], "text")
    assert texts_of(source) == TEXTS  # and nothing of what is empty
    check_every_place(source)


def test_parquet(tmp_path):
    write_parquet(tmp_path / "a.parquet")
    source = FileSource([tmp_path / "a.parquet"], "text")
    assert texts_of(source) == TEXTS
    check_every_place(source)


def test_text_with_borders_and_a_folder_of_all_kinds(tmp_path):
    (tmp_path / "b.txt").write_text("one\n<|endoftext|>two\n<|endoftext|>")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"three\n"))
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress(b'{"text": "four"}\n{"text": "five"}\n'))
    write_json_lines(tmp_path / "a.ndjson", ["zero"])
    source = FileSource([tmp_path], "text")
    assert texts_of(source) == ["zero", "one\n", "two\n", "three\n", "four", "five"]
    check_every_place(source)
    documents = list(source.documents(None))
    assert [document.in_sections for document in documents] == [False, *[True] * 3, False, False]
    assert documents[-1].read <= source.total


def test_a_long_text_comes_in_several_documents(tmp_path, monkeypatch):
    monkeypatch.setattr("hipgpt_cli.text_parts.PART_BYTES", 1000)
    monkeypatch.setattr("hipgpt_cli.data_files.PART_BYTES", 1000)
    text = "".join(f"line {number}\n" for number in range(1000))
    (tmp_path / "long.txt").write_text(text)
    source = FileSource([tmp_path / "long.txt"], "text")
    found = texts_of(source)
    assert "".join(found) == text
    assert len(found) >= 5
    check_every_place(source)


def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b"}\n')
    assert texts_of(FileSource([tmp_path / "a.jsonl"], "text")) == ["a?b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text"\n', "the line at byte 14"),
        ('["a"]\n', "expected an object, got list"),
        ('{"body": "a"}\n', "there is no 'text'; --text-column names the text, of: body"),
        ('{"text": null}\n', "'text' is NoneType, expected text"),
        ('{"text": 5}\n', "'text' is int, expected text"),
        ("[" * 200_000 + "\n", "no JSON"),
    ],
)
def test_json_that_is_none_is_told_by_its_line(tmp_path, content, message):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(UserError, match=message):
        texts_of(FileSource([tmp_path / "a.jsonl"], "text"))


def test_files_that_are_missing_damaged_or_not_text(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        FileSource([tmp_path / "nothing"], "text")
    with pytest.raises(UserError, match="no file to read"):
        FileSource([tmp_path], "text")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n' * 100)[:-20])
    with pytest.raises(UserError, match="no whole gzip file"):
        texts_of(FileSource([tmp_path / "a.jsonl.gz"], "text"))
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8"):
        texts_of(FileSource([tmp_path / "b.txt"], "text"))


def test_parquet_that_is_none_and_a_column_that_is_not_there(tmp_path):
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        texts_of(FileSource([tmp_path / "a.parquet"], "text"))
    write_parquet(tmp_path / "b.parquet")
    with pytest.raises(UserError, match="there is no 'body'; --text-column names the text, of: te"):
        texts_of(FileSource([tmp_path / "b.parquet"], "body"))
    with pytest.raises(UserError, match="'n' is int, expected text"):
        texts_of(FileSource([tmp_path / "b.parquet"], "n"))


def test_without_the_packages_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=r"pip install 'hipgpt-cli\[datasets\]'"):
        texts_of(FileSource([tmp_path / "a.parquet"], "text"))
    with pytest.raises(UserError, match="--hf needs the package datasets"):
        HubSource("x/y", None, "train", "text", None)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A data set that `datasets` streams from local files, without a network."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("datasets", reason="data sets of the hub need the package datasets")
        yield tmp_path / "set"


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_streamed_data_set_goes_on_from_every_place(hub, form, monkeypatch):
    monkeypatch.setattr("hipgpt_cli.data_hub._ROWS_BETWEEN_MARKS", 5)
    hub.mkdir()
    write = write_parquet if form == "parquet" else write_json_lines
    write(hub / f"train-0.{form}", TEXTS[:25])
    write(hub / f"train-1.{form}", TEXTS[25:])

    def source():
        return HubSource(str(hub), None, "train", "text", None)

    whole = list(source().documents(None))
    assert [document.text for document in whole] == TEXTS
    for number in range(0, 40, 3):
        after = json.loads(json.dumps(whole[number].after))
        assert texts_of(source(), after) == TEXTS[number + 1 :]


def test_a_data_set_that_cannot_be_had(hub):
    with pytest.raises(UserError, match="cannot be loaded by datasets"):
        HubSource(str(hub), None, "train", "text", None)
    hub.mkdir()
    write_json_lines(hub / "train.jsonl")
    with pytest.raises(UserError, match="there is no 'body'"):
        HubSource(str(hub), None, "train", "body", None)


WIKI = """
 = First article =

 Its text , with 1 @,@ 000 words .
 = = A section = =
 = 1 =
 More .

 = Second article =

 Text .
"""


def test_wikitext_lines_become_articles(tmp_path):
    (tmp_path / "w.txt").write_text(WIKI)
    source = WikiText(FileSource([tmp_path / "w.txt"], "text"))
    first, second = texts_of(source)
    assert first.splitlines() == [
        "= First article =", "Its text, with 1,000 words.", "== A section ==", "= 1 =", "More.",
    ]  # fmt: skip
    assert second == "= Second article =\nText.\n"
    check_every_place(source)


def test_wikitext_of_one_line_a_row(tmp_path):
    """As the hub has it; the articles are the same."""
    (tmp_path / "w.txt").write_text(WIKI)
    write_json_lines(tmp_path / "w.jsonl", [line + "\n" for line in WIKI.splitlines()])
    rows = WikiText(FileSource([tmp_path / "w.jsonl"], "text"))
    file = WikiText(FileSource([tmp_path / "w.txt"], "text"))
    assert texts_of(rows) == texts_of(file)
    check_every_place(rows)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_streamed_data_set_is_prepared_like_its_files(hub, tmp_path, form):
    """The shards are those of the same texts in a file of JSON lines."""
    from hipgpt_cli.data_preparation import Settings, prepare
    from hipgpt_tokenizer import Tokenizer

    tokenizer = Tokenizer.train(TEXTS[0], 260, special_tokens=["<|endoftext|>"])
    write_json_lines(tmp_path / "all.jsonl")
    hub.mkdir()
    (write_parquet if form == "parquet" else write_json_lines)(hub / f"train-0.{form}")
    sources = {
        "hub": HubSource(str(hub), None, "train", "text", None),
        "file": FileSource([tmp_path / "all.jsonl"], "text"),
    }
    found = {}
    for name, source in sources.items():
        (tmp_path / name).mkdir()
        prepare(source, tokenizer, tmp_path / name, Settings(0.3, 500), workers=2)
        shards = sorted((tmp_path / name).glob("*.tokens"))
        found[name] = [(path.name, path.read_bytes()) for path in shards]
    assert found["hub"] == found["file"]
    assert len(found["hub"]) > 2


def test_a_folders_files_that_are_no_text_are_left_out(tmp_path):
    """A picture beside the texts is no mistake; named by itself it is one."""
    (tmp_path / "a.txt").write_text("a text, é")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    (tmp_path / "c.txt").write_bytes("é".encode("latin-1"))
    source = FileSource([tmp_path], "text")
    assert [path.name for path in source.files] == ["a.txt"]
    assert [path.name for path in source.skipped] == ["b.png", "c.txt"]
    with pytest.raises(UserError, match="is not UTF-8 text"):
        texts_of(FileSource([tmp_path / "c.txt"], "text"))
