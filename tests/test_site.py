"""The rendered site: every page is in the navigation, a link to nothing ends it, nothing is loaded from elsewhere."""

import importlib.util
import json
import re

import pytest
from conftest import REPOSITORY
from nbformat.v4 import new_code_cell, new_notebook, new_output, writes

spec = importlib.util.spec_from_file_location("build_site", REPOSITORY / "docs" / "build_site.py")
build_site = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build_site)

# what a browser fetches by itself; a link that one may click on is no such thing
LOADED = [r"<(?:script|img|iframe|video|audio|source|embed|object)\b[^>]*?"
          r"\b(?:src|data|poster)=[\"']?((?:https?:)?//[^\"'\s>]+)",
          r"<link\b(?=[^>]*\brel=[\"']?(?:stylesheet|preload|icon|preconnect|modulepreload))[^>]*?\bhref=[\"']?"
          r"((?:https?:)?//[^\"'\s>]+)",
          r"(?:@import\s+|url\()\s*[\"']?((?:https?:)?//[^\"')\s]+)",
          r"import\s*[({][^;]{0,80}?[\"']((?:https?:)?//[^\"']+)"]


def fetched(text):
    return {address for pattern in LOADED for address in re.findall(pattern, text)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    output = new_output("display_data", {"text/html": "<b id='seen'>a film</b><script>let player = 1</script>"})
    book = new_notebook(cells=[new_code_cell("show()", outputs=[output])])
    notebook = folder / "results" / "ocean" / "notebooks" / "3_sample.ipynb"
    notebook.parent.mkdir(parents=True)
    notebook.write_text(writes(book))
    build_site.build(folder / "site", folder / "pages", folder / "results")
    return folder / "site"


def test_every_page_is_in_the_navigation_of_the_front_page(site):
    front = (site / "index.html").read_text(encoding="utf-8")
    nav = front[front.index('<nav class="md-nav md-nav--primary'):front.index('data-md-type="toc"')]
    wanted = {name.replace(".md", ".html") for name in build_site.sources().values() if name.endswith(".md")}
    assert len(wanted) > 20 and {path.with_suffix(".html").name for path in (REPOSITORY / "docs").glob("*.md")} < wanted
    linked = {href for href in re.findall(r'href="([^"#]+)"', nav)}
    assert (wanted | {"notebooks.html"}) - {"index.html"} <= linked
    assert "A photo becomes a short film" in front


def test_nothing_is_loaded_from_elsewhere(site):
    """Of the theme's own script, which asks elsewhere only for diagrams and a repository's stars, see below."""
    assert fetched('<script src="https://a/b.js"></script><link rel=stylesheet href="//c/d.css">') == {
        "https://a/b.js", "//c/d.css"}
    found = {path.name: addresses for path in site.rglob("*") if path.suffix in (".html", ".css")
             if (addresses := fetched(path.read_text(encoding="utf-8")))}
    assert not found
    pages = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.html"))
    assert 'class="mermaid"' not in pages and 'data-md-component="source"' not in pages
    assert "iframe-worker" not in pages


def test_an_executed_notebook_is_a_page_of_its_own_with_its_scripts(site):
    assert 'href="notebooks/ocean/3_sample.html"' in (site / "notebooks.html").read_text(encoding="utf-8")
    page = (site / "notebooks" / "ocean" / "3_sample.html").read_text(encoding="utf-8")
    assert '<b id="seen">a film</b>' in page and "let player = 1" in page


def test_the_search_finds_what_pages_say(site):
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert {"index.html", "troubleshooting.html"} <= {entry["location"] for entry in index["docs"]}


@pytest.mark.parametrize("wrong", ["[gone](no-such-page.md)", "[gone](report.md#no-such-heading)", "![gone](gone.png)"])
def test_a_link_to_nothing_ends_it(tmp_path, monkeypatch, wrong):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "index.md").write_text(f"# Start\n\n{wrong}\n")
    (docs / "report.md").write_text("# Report\n")
    config = (REPOSITORY / "docs" / "mkdocs.yml").read_text().partition("\nnav:")[0]
    (docs / "mkdocs.yml").write_text(config)
    monkeypatch.setattr(build_site, "ROOT", tmp_path)
    monkeypatch.setattr(build_site, "OTHERS", {})
    with pytest.raises(SystemExit):
        build_site.build(tmp_path / "site", tmp_path / "pages", tmp_path / "results")
