"""Make the links of a README absolute, in place, for an index that shows it without the repository.

    python scripts/absolute_links.py packages/hipgpt-cli/README.md https://github.com/me/hipgpt v1

The odd thing: the release does it to its own checkout and nobody commits the result, so what lies
in the repository works in every clone and fork, and what is published leads to where it came from.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

LINK = re.compile(r"(?P<picture>!?)(?P<text>\[[^\]]*\])\((?P<target>[^)\s]+)\)")


def with_absolute_links(text: str, folder: str, repository: str, reference: str) -> str:
    """The text of a file of `folder` with every relative link leading into the repository.

    Args:
        text: Markdown.
        folder: where the file lies in the repository, with slashes.
        repository: its address.
        reference: the branch, tag or commit that links lead to.
    """

    def replace(match: re.Match[str]) -> str:
        target = match["target"]
        if target.startswith("#") or re.match(r"[a-z]+:", target):
            return match[0]
        place = posixpath.normpath(posixpath.join(folder, target))
        kind = "raw" if match["picture"] else "blob"
        return f"{match['picture']}{match['text']}({repository}/{kind}/{reference}/{place})"

    return LINK.sub(replace, text)


def main() -> None:
    name, repository, reference = sys.argv[1:]
    path = Path(name).resolve()
    folder = path.parent.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8")
    path.write_text(
        with_absolute_links(text, folder, repository.rstrip("/"), reference), encoding="utf-8"
    )


if __name__ == "__main__":
    main()
