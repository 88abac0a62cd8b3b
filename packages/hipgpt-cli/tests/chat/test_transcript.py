"""What the model is given to continue."""

from hipgpt_cli.chat.template import Template
from hipgpt_cli.chat.transcript import Transcript


def dialogue(**options):
    return Transcript(Template.named("dialogue", "User", "Assistant"), **options)


def test_turns_follow_each_other():
    transcript = dialogue(system="A talk.", turns=[("Hi", " Hello.\n"), ("How?", " Well.")])
    assert transcript.text() == (
        "A talk.\nUser: Hi\nAssistant: Hello.\nUser: How?\nAssistant: Well."
    )
    prompt, left_out = transcript.prompt("Bye", len, 1000)
    assert prompt == transcript.text() + "\nUser: Bye\nAssistant:"
    assert left_out == 0


def test_the_oldest_turns_are_left_out_and_the_system_text_is_not():
    transcript = dialogue(system="A talk.", turns=[("1" * 50, "a"), ("2" * 50, "b")])
    prompt, left_out = transcript.prompt("3", len, 120)
    assert left_out == 1
    assert prompt == f"A talk.\nUser: {'2' * 50}\nAssistant:b\nUser: 3\nAssistant:"
    prompt, left_out = transcript.prompt("3", len, 10)
    assert (prompt, left_out) == ("A talk.\nUser: 3\nAssistant:", 2)


def test_plain_turns_are_one_text():
    transcript = Transcript(Template("{text}"), turns=[("Once upon", " a time")])
    assert transcript.prompt(", a fox", len, 1000)[0] == "Once upon a time, a fox"


def test_the_first_turn_stands_alone():
    assert dialogue().prompt("Hi", len, 1000) == ("User: Hi\nAssistant:", 0)
    assert dialogue().text() == ""
