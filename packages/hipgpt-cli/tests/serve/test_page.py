"""The page in a real browser: headless Chromium, driven by Playwright; skipped where there is none.

The odd thing: the page's policy forbids evaluated scripts, so nothing here evaluates any in it but
through Playwright's own door.
"""

import os
import re
import shutil

import pytest

pytest.importorskip("playwright", reason="Playwright is in the environment `peers`")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser():
    """Chromium: that of HIPGPT_CHROMIUM, or the one on the PATH."""
    from playwright.sync_api import sync_playwright

    path = os.environ.get("HIPGPT_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium on this machine; HIPGPT_CHROMIUM names one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """visit(client, …) -> the page; what it asked for and what went wrong are its attributes."""
    contexts = []

    def open_page(client, **options):
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 800}, **options})
        contexts.append(context)
        page = context.new_page()
        page.asked, page.wrong = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("console", lambda message: message.type == "error"
                and page.wrong.append(message.text))  # fmt: skip
        page.goto(f"http://127.0.0.1:{client.port}/")
        page.get_by_text("parameters, sees 8 tokens").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()


def fill_options(page, **values):
    """Open the options and fill them in."""
    page.locator("summary").click()
    for name, value in values.items():
        page.locator(f"[name={name}]").fill(str(value))


def test_the_text_is_the_servers(client, visit):
    page = visit(client)
    page.get_by_label("Prompt").fill("the quick")
    fill_options(page, max_tokens=30, temperature=0.9, top_k=20, seed=5, stop="zzz")
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("30 tokens in").wait_for()
    text = client.text(prompt="the quick", max_tokens=30, temperature=0.9, top_k=20, seed=5,
                       truncate_prompt_tokens=-1)  # fmt: skip
    assert page.locator("#made").text_content() == text
    assert page.locator("#given").text_content() == "the quick"
    assert page.wrong == []


def test_nothing_comes_from_elsewhere(client, visit):
    page = visit(client)
    page.get_by_label("Prompt").fill("the")
    page.keyboard.press("Control+Enter")
    page.get_by_text("tokens in").wait_for()
    assert all(url.startswith(f"http://127.0.0.1:{client.port}/") for url in page.asked)
    assert len(page.asked) == 5  # page, style, script, models, completion


def test_stop_keeps_the_text_and_frees_the_row(serving, visit):
    with serving(pause_s=0.02) as client:
        page = visit(client)
        page.get_by_label("Prompt").fill("the")
        fill_options(page, max_tokens=4000)
        page.get_by_role("button", name="Continue").click()
        page.get_by_text("Writing").wait_for()
        page.wait_for_function("document.querySelector('#made').textContent")
        assert page.get_by_role("button", name="Continue").is_disabled()
        page.get_by_role("button", name="Stop").click()
        page.get_by_text("Stopped.").wait_for()
        client.wait(lambda engine: engine.running == 0)
        assert page.locator("#made").text_content()
        assert page.get_by_role("button", name="Stop").is_disabled()


def test_it_can_go_on(client, visit):
    page = visit(client)
    page.get_by_label("Prompt").fill("the")
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("tokens in").wait_for()
    first = page.locator("#text").text_content()
    page.get_by_role("button", name="Go on from here").click()
    page.get_by_role("button", name="Go on from here").and_(page.locator(":enabled")).wait_for()
    assert page.get_by_label("Prompt").input_value() == first
    assert page.locator("#given").text_content() == first


def test_markup_in_a_text_is_text(client, visit):
    page = visit(client)
    page.get_by_label("Prompt").fill("<img src=x onerror=alert(1)>")
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("tokens in").wait_for()
    assert page.locator("#text img").count() == 0
    assert page.locator("#given").text_content() == "<img src=x onerror=alert(1)>"


def test_a_refusal_is_shown(client, visit):
    page = visit(client)
    page.get_by_label("Prompt").fill("the")
    fill_options(page, max_tokens=100000)
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("max_tokens must be an integer").wait_for()
    assert page.locator("#status.bad").count() == 1


def test_impossible_options_are_not_sent(client, visit):
    page = visit(client)
    fill_options(page, temperature=-1)
    page.get_by_role("button", name="Continue").click()
    assert not any(url.endswith("completions") for url in page.asked)


@pytest.mark.parametrize("width", [320, 360, 768])
def test_fits_a_phone(client, visit, width):
    page = visit(client, viewport={"width": width, "height": 700})
    page.get_by_label("Prompt").fill("the " + "x" * 300)
    page.locator("summary").click()
    page.get_by_role("button", name="Continue").click()
    page.get_by_text("tokens in").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_can_be_read(client, visit, scheme):
    """Every text has at least the contrast that WCAG 2 asks of small text, 4.5."""
    page = visit(client, color_scheme=scheme)
    page.locator("summary").click()
    pairs = page.evaluate(
        """() => [...document.querySelectorAll("h1, h2, p, label, small, button, textarea, #given")]
        .filter((element) => !element.disabled).map((element) => {
            let behind = element;
            while (getComputedStyle(behind).backgroundColor === "rgba(0, 0, 0, 0)")
                behind = behind.parentElement;
            return [element.tagName, getComputedStyle(element).color,
                    getComputedStyle(behind).backgroundColor];
        })"""
    )
    assert len(pairs) > 15
    dark = luminance(pairs[0][2]) < 0.2
    assert dark == (scheme == "dark")
    for name, front, back in pairs:
        bright, dim = sorted((luminance(front), luminance(back)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, (name, front, back)


def luminance(color):
    """Relative luminance of "rgb(r, g, b)", WCAG 2.2."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
              for part in parts]  # fmt: skip
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_everything_can_be_reached_by_key(client, visit):
    """The prompt has the focus at first, and Tab goes on to the button."""
    page = visit(client)
    assert page.evaluate("document.activeElement.id") == "prompt"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "go"
    page.keyboard.press("Enter")
    page.get_by_text("tokens in").wait_for()
