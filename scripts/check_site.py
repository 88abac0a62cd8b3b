"""Look at every page of the site as a visitor does: in Chromium, from the disk, without a network.

    python scripts/check_site.py site
    python scripts/check_site.py site --only training --shots pictures

At 1280 and at 390 pixels, light and dark: no error on the console, nothing asked of a network,
every picture there, no page wider than the window (tables and code scroll in boxes of their own),
every link inside the site leads to a page and a place that exist, and the search finds something.
The odd thing: links are read from the files and not clicked, and pages that show a source file are
looked at in one view only, because they are all alike.

Without Chromium it says so and checks the links alone.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urldefrag

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES = ((1280, 800), (390, 844))
SCHEMES = ("light", "dark")

MEASURE = """() => ({
  width: document.documentElement.scrollWidth, window: window.innerWidth,
  wide: [...document.querySelectorAll('body *')]
    .filter((e) => e.getBoundingClientRect().right > window.innerWidth + 1)
    .slice(0, 3).map((e) => e.tagName + '.' + e.className),
  broken: [...document.images].filter((i) => !i.complete || !i.naturalWidth).map((i) => i.src),
})"""


class Document(HTMLParser):
    """The links and the named places of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag leads to and what it is called."""
        for name, value in attrs:
            if value and (name == "id" or (name == "name" and tag == "a")):
                self.places.add(value)
            elif value and name in {"href", "src"} and tag in {"a", "img", "script", "link"}:
                self.links.append(value)


def broken_links(site: Path) -> Iterator[str]:
    """One line for each link inside the site that leads nowhere."""
    pages = {path: Document(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    for path, page in sorted(pages.items()):
        if path.name == "404.html":  # its links are those of a server's root
            continue
        for link in sorted(set(page.links)):
            if ":" in link.partition("/")[0] or link.startswith("//"):
                continue
            address, place = urldefrag(link)
            target = (path.parent / unquote(address)).resolve() if address else path
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                yield f"{path.relative_to(site)}: {link} is not there"
            elif place and target in pages and unquote(place) not in pages[target].places:
                yield f"{path.relative_to(site)}: {link}: the page has no such place"


def looks(browser: Any, site: Path, pages: list[Path], shots: Path | None) -> Iterator[str]:
    """One line for each thing that is wrong in a view of a page."""
    for (width, height), scheme in product(SIZES, SCHEMES):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
        )
        tab = context.new_page()
        said: list[str] = []
        _listen(tab, said)
        for path in pages:
            name = path.relative_to(site).as_posix()
            if name.startswith("source/") and (width, scheme) != (SIZES[1][0], "light"):
                continue
            said.clear()
            tab.goto(path.as_uri())
            found = tab.evaluate(MEASURE)
            where = f"{name} at {width}, {scheme}"
            yield from (f"{where}: {line}" for line in said)
            yield from (f"{where}: {picture} is no picture" for picture in found["broken"])
            if found["width"] > found["window"]:
                yield f"{where}: {found['width']} pixels wide, because of {found['wide']}"
            if shots is not None:
                flat = name.replace("/", "-").removesuffix(".html")
                tab.screenshot(path=shots / f"{flat}-{width}-{scheme}.png", full_page=True)
        context.close()


def search_works(browser: Any, site: Path) -> Iterator[str]:
    """One line if the search finds nothing."""
    tab = browser.new_page(viewport={"width": SIZES[0][0], "height": SIZES[0][1]})
    tab.goto((site / "index.html").as_uri())
    tab.click(".md-search__input")
    tab.keyboard.type("attention")
    try:
        tab.wait_for_selector(".md-search-result__item", timeout=20_000)
    except Exception as error:  # noqa: BLE001 - whatever it was, there are no results
        yield f"the search finds nothing: {type(error).__name__}"
    tab.close()


def _listen(tab: Any, said: list[str]) -> None:
    """Note what a page complains of, and what it asks of a network."""

    def console(message: Any) -> None:
        if message.type in {"error", "warning"}:
            said.append(f"{message.type}: {message.text}")

    def request(asked: Any) -> None:
        if asked.url.startswith(("http:", "https:")):
            said.append(f"asks for {asked.url}")

    tab.on("console", console)
    tab.on("request", request)
    tab.on("pageerror", lambda error: said.append(f"error: {error}"))


def chromium() -> str | None:
    """The browser's path; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("site", type=Path, help="the built site's folder")
    parser.add_argument("--only", default="", help="pages whose path has this in it")
    parser.add_argument("--shots", type=Path, help="keep a picture of every view here")
    args = parser.parse_args()
    site = args.site.resolve()
    if not (site / "index.html").is_file():
        sys.exit(
            f"{args.site} has no index.html: build the site first, mkdocs build -d {args.site}"
        )
    pages = [path for path in sorted(site.rglob("*.html")) if args.only in path.as_posix()]
    pages = [path for path in pages if path.name != "404.html"]
    if args.shots:
        args.shots.mkdir(parents=True, exist_ok=True)

    wrong = list(broken_links(site))
    path = chromium()
    if path is None:
        print("skipped: there is no Chromium here, so only the links were checked")
    else:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            wrong += looks(browser, site, pages, args.shots)
            wrong += search_works(browser, site)
            browser.close()
    for line in wrong:
        print(line)
    print(f"{len(pages)} pages, {len(wrong)} defects")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
