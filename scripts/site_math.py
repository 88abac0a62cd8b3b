r"""Formulas of the site: LaTeX between dollar signs becomes MathML while the site is built.

A browser draws MathML by itself, in the colours of the page and without a script, and a view of the
repository draws the same source. Many systems have no font for mathematics, so the site brings one:
STIX Two Math, out of the package ziamath, cut to the characters that formulas use. The odd thing:
what the converter does not know, it hands through with its backslash, so a backslash in its output
is an error of the page.
"""

from __future__ import annotations

import html
import io
import re
from importlib import resources
from typing import TYPE_CHECKING

from fontTools.subset import Options, Subsetter, load_font, save_font
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

FONT = "assets/math.woff2"
RANGES = (
    range(0x20, 0x17F),  # Latin
    range(0x300, 0x370),  # accents
    range(0x370, 0x400),  # Greek
    range(0x2000, 0x2070),  # dashes, quotation marks
    range(0x2100, 0x2400),  # letter-like, arrows, operators, brackets
    range(0x1D400, 0x1D800),  # letters of mathematics: an italic x is one of them
)

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\(?P<kind>[(\[])(?P<tex>.*?)\\[)\]]</(?P=tag)>',
    re.DOTALL,
)
"""What pymdownx.arithmatex makes of $…$ (in a span) and of $$…$$ (in a div)."""

ADDED_TO = "<mo /><mrow><mo>&#x0002B;</mo><mo>&#x0003D;</mo></mrow>", "<mo>+=</mo>"
r"""\operatorname{+=}, as the converter writes it, and as one operator."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the font."""
    options = Options(flavor="woff2", layout_features=["ssty", "dtls", "flac"])
    options.name_IDs = ["*"]  # the licence among them
    with resources.as_file(resources.files("ziamath.fonts") / "STIXTwoMath-Regular.ttf") as path:
        font = load_font(str(path), options)
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=[code for codes in RANGES for code in codes])
    subsetter.subset(font)
    data = io.BytesIO()
    save_font(font, data, options)
    files.append(File.generated(config, FONT, content=data.getvalue()))
    return files


def on_page_content(page_html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Replace every formula of a page."""

    def replace(match: re.Match[str]) -> str:
        tex = html.unescape(match["tex"]).strip()
        if match["kind"] == "(":
            return _mathml(tex, "inline", page)
        # Formulas beside one another go below one another where there is no room.
        parts = [_mathml(part, "block", page) for part in tex.split(r"\qquad")]
        return f'<div class="formula">{"".join(parts)}</div>'

    return FORMULA.sub(replace, page_html)


def _mathml(tex: str, display: str, page: Page) -> str:
    """A formula as MathML."""
    mathml = convert(tex, display=display).replace(*ADDED_TO)
    if "\\" in mathml:
        raise PluginError(f"{page.file.src_uri}: the converter does not know all of: {tex}")
    return mathml
