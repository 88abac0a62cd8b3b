"""How turns are written, and where answers end."""

import pytest

from hipgpt_cli.chat.template import NAMED, Template
from hipgpt_cli.errors import UserError


def test_script():
    template = Template.named("script", "ROMEO", "JULIET")
    assert template.write("Who?") == "ROMEO:\nWho?\n\nJULIET:\n"
    assert (template.stop, template.separator) == ("\nROMEO:", "\n\n")


def test_plain_has_neither_names_nor_stop():
    template = Template.named("plain", "a", "b")
    assert template.write("Once") == "Once"
    assert (template.stop, template.separator) == (None, "")


def test_own():
    template = Template.named("Q: {text}\\nA:", "a", "b")
    assert template.write("1+1?") == "Q: 1+1?\nA:"
    assert template.stop == "\nQ:"


def test_what_is_typed_is_not_a_template():
    assert Template(NAMED["dialogue"]).write("{they} {text}") == "User: {they} {text}\nAssistant:"


@pytest.mark.parametrize("name", ["dialog", "{text} {text}", ""])
def test_text_stands_in_it_once(name):
    with pytest.raises(UserError, match="once"):
        Template.named(name, "a", "b")
