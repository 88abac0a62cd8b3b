"""What mkdocs does not do by itself: pages out of files elsewhere, links into the code, no CDN.

A relative link in the docs means the same here as in a view of the repository. Where it leads out
of docs/, the file gets a page: the READMEs, CONTRIBUTING and the changelogs as they are, a source
file with its lines numbered. So nothing is written twice, and the site works without a network.

The odd thing: the search of the theme needs a Worker, which browsers refuse to a page from a disk;
the theme would load a substitute from a CDN, and `docs/assets/disk_worker.js` takes its place.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("hipgpt-tokenizer", "hipgpt-kernels", "hipgpt-model", "hipgpt-cli")

PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "LICENSE": "license.md",
    **{f"packages/{name}/README.md": f"packages/{name}.md" for name in PACKAGES},
    **{f"packages/{name}": f"packages/{name}.md" for name in PACKAGES},
    **{f"packages/{name}/CHANGELOG.md": "changelog.md" for name in PACKAGES},
}
"""Path in the repository -> page of the site."""

LANGUAGES = {
    ".py": "python", ".hip": "cpp", ".h": "cpp", ".cpp": "cpp", ".toml": "toml", ".yml": "yaml",
    ".js": "js", ".css": "css", ".html": "html",
}  # fmt: skip

LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s]+)(\))")
"""A link or picture: what stands before the target, the target, what stands behind."""

CDN_WORKER = re.compile(r'<script src="https://unpkg\.com/iframe-worker/shim"></script>')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of files outside docs/."""
    for source, target in PAGES.items():
        if source in {"README.md", "LICENSE"} or not source.endswith("README.md"):
            continue
        _add(files, config, target, source, (ROOT / source).read_text(encoding="utf-8"))
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _add(files, config, "contributing.md", "CONTRIBUTING.md", contributing)
    _add(files, config, "license.md", "LICENSE", f"# Licence\n\n{(ROOT / 'LICENSE').read_text()}")
    _add(files, config, "changelog.md", "CHANGELOG.md", _changelog())
    for source in sorted(_linked_sources()):
        _add(files, config, f"source/{source}.md", source, _source_page(source))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turn links that lead out of docs/ into links to the pages made for them."""
    if page.file.src_uri.startswith("source/"):
        return markdown
    origin = _origin(page.file.src_uri)
    return _with_links(markdown, origin, page.file.src_uri)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Replace the theme's script from a CDN by our own."""
    ours = posixpath.relpath("assets/disk_worker.js", posixpath.dirname(page.file.dest_uri) or ".")
    return CDN_WORKER.sub(f'<script src="{ours}"></script>', output)


def _add(files: Files, config: MkDocsConfig, target: str, source: str, text: str) -> None:
    """A page of the site from text; `source` says where in the repository its links start."""
    ORIGINS[target] = source
    files.append(File.generated(config, target, content=text))


ORIGINS: dict[str, str] = {}
"""Page of the site -> the repository's file that it was made of."""


def _origin(page: str) -> str:
    return ORIGINS.get(page, f"docs/{page}")


def _with_links(markdown: str, origin: str, page: str) -> str:
    """The text with every link that means a file of the repository pointing to the site's page."""
    folder = posixpath.dirname(page) or "."

    def replace(match: re.Match[str]) -> str:
        path, hash_sign, anchor = match[2].partition("#")
        place = _page_of(path, origin)
        if place is None:
            return match[0]
        return f"{match[1]}{posixpath.relpath(place, folder)}{hash_sign}{anchor}{match[3]}"

    return _outside_code(markdown, lambda line: LINK.sub(replace, line))


def _page_of(path: str, origin: str) -> str | None:
    """The site's page for a relative link; None where the link stays as it is."""
    if not path or re.match(r"[a-z]+:", path):
        return None
    place = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
    if place in PAGES:
        return PAGES[place]
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    return f"source/{place}.md" if (ROOT / place).is_file() else None


def _outside_code(markdown: str, change: Any) -> str:
    """The text with every line outside fenced code changed."""
    lines, fence = [], ""
    for line in markdown.split("\n"):
        bare = line.lstrip()
        if fence:
            fence = "" if bare.startswith(fence) else fence
        elif bare.startswith(("```", "~~~")):
            fence = bare[:3]
        else:
            line = change(line)  # noqa: PLW2901
        lines.append(line)
    return "\n".join(lines)


def _linked_sources() -> set[str]:
    """Files of the repository that some page links to and that have no page yet."""
    documents = [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in PAGES)]
    found = set()

    for document in documents:
        if document.suffix != ".md":
            continue
        origin = document.relative_to(ROOT).as_posix()

        def note(line: str, origin: str = origin) -> str:
            for match in LINK.finditer(line):
                page = _page_of(match[2].partition("#")[0], origin)
                if page is not None and page.startswith("source/"):
                    found.add(page.removeprefix("source/").removesuffix(".md"))
            return line

        _outside_code(document.read_text(encoding="utf-8"), note)
    return found


def _source_page(source: str) -> str:
    """A page that shows a file."""
    text = (ROOT / source).read_text(encoding="utf-8")
    language = LANGUAGES.get(Path(source).suffix, "text")
    fence = "`" * 8  # longer than any in a docstring
    name = posixpath.basename(source)
    return (
        f"---\nsearch:\n  exclude: true\nhide:\n  - toc\ntitle: {name}\n---\n\n# {name}\n\n"
        f'`{source}`\n\n{fence}{language} linenums="1"\n{text.rstrip()}\n{fence}\n'
    )


def _changelog() -> str:
    """The packages' changelogs, one after the other."""
    parts = ["# Changelog", "", "Each package has its own versions."]
    for name in PACKAGES:
        text = (ROOT / "packages" / name / "CHANGELOG.md").read_text(encoding="utf-8")
        _, _, entries = text.partition("\n## ")
        parts += ["", f"## {name}", "", re.sub(r"(?m)^#", "##", f"## {entries}".rstrip())]
    return "\n".join(parts) + "\n"
