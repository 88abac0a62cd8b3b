"""What a package's README says in the index leads to the repository, and everything else stays."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def load():
    path = ROOT / "scripts" / "absolute_links.py"
    spec = importlib.util.spec_from_file_location("absolute_links", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_links_and_pictures_lead_into_the_repository():
    text = (
        "[a](../../docs/a.md#b) ![p](../../docs/images/p.svg) [m](https://x.org) [h](#here) x[i](y)"
    )
    assert load().with_absolute_links(text, "packages/one", "https://host/me/it", "v1") == (
        "[a](https://host/me/it/blob/v1/docs/a.md#b) "
        "![p](https://host/me/it/raw/v1/docs/images/p.svg) [m](https://x.org) [h](#here) "
        "x[i](https://host/me/it/blob/v1/packages/one/y)"
    )


def test_every_relative_link_of_a_readme_leads_to_a_file():
    module = load()
    for readme in [ROOT / "README.md", *ROOT.glob("packages/*/README.md")]:
        for match in module.LINK.finditer(readme.read_text(encoding="utf-8")):
            target = match["target"].partition("#")[0]
            if target and not target.startswith(("http:", "https:", "mailto:")):
                assert (readme.parent / target).exists(), f"{readme}: {target}"
