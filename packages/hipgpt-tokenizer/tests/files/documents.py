"""A tokenizer.json to be spoiled, one field at a time."""

import json

from hipgpt_tokenizer import Tokenizer


def document_of(tok, tmp_path):
    tok.save(tmp_path / "good.json")
    return json.loads((tmp_path / "good.json").read_text("utf-8"))


def load_document(document, tmp_path):
    (tmp_path / "bad.json").write_text(json.dumps(document), "utf-8")
    return Tokenizer.load(tmp_path / "bad.json")


def put(*path_and_value):
    *path, value = path_and_value

    def change(document):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


def drop(*path):
    def change(document):
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change
