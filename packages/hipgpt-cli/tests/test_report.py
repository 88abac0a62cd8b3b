"""report.html: whole, self-contained, safe against what a text or a name may hold."""

import re
from html.parser import HTMLParser

import pytest

from hipgpt_cli.errors import UserError
from hipgpt_cli.report import make_report, write_report
from hipgpt_cli.sample import Sample, record_sample


class Checker(HTMLParser):
    """Every tag is closed in order; nothing is fetched and nothing runs."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.text = []

    def handle_starttag(self, tag, attributes):
        assert tag not in {"script", "link", "img", "iframe"}
        for name, value in attributes:
            assert not name.startswith("on")
            assert "//" not in (value or "")
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def checked(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    return "\n".join(checker.text)


def test_the_page_has_everything(tmp_path, make_run):
    run = make_run(tmp_path)
    for step in (10, 20):
        record_sample(run.samples, step, Sample("<b>The", f" {step} & <script>alert(1)</script>"))
    text = checked(page := make_report(run))
    for expected in (
        "one", "Loss", "Perplexity", "Accuracy", "Learning rate", "Gradient norm", "Speed",
        "validation loss", "2.060", "after step 20", "<script>alert(1)</script>", "a<b>.txt",
        "cpu: <test>", "tokens read, 1 epochs", "embed dim", "6,400" if "6,400" in page else "6400",
    ):  # fmt: skip
        assert expected in text
    assert "<script" not in page
    assert page.count("<svg") == 6
    assert "prefers-color-scheme: dark" in page
    assert not re.search(r"https?:", page)


def test_many_samples_are_thinned_to_the_first_the_last_and_some_between(tmp_path, make_run):
    run = make_run(tmp_path)
    for step in range(100):
        record_sample(run.samples, step, Sample("a", "b"))
    text = checked(make_report(run))
    assert len(re.findall("after step", text)) == 12
    assert "after step 0" in text
    assert "after step 99" in text


def test_a_run_of_an_older_version_or_without_a_validation(tmp_path, make_run):
    run = make_run(tmp_path, steps=5)
    run.config.write_text('{"format": "hipgpt-run", "version": 1}')
    text = checked(make_report(run))
    assert "5 steps" in text


def test_the_command_writes_it_where_it_is_asked_to(run, tmp_path, make_run):
    made = make_run(tmp_path)
    assert run("report").exit_code == 0
    assert made.report.is_file()
    assert run("report", "runs/one", "--out", "page.html").exit_code == 0
    assert (tmp_path / "page.html").read_text() == made.report.read_text()
    made.metrics.unlink()
    assert "has no metrics yet" in run("report", "one").stderr
    with pytest.raises(UserError, match="has no metrics yet"):
        write_report(made)


def test_training_writes_it_at_its_end(trained):
    page = (trained / "report.html").read_text()
    assert "12 steps" in checked(page)
