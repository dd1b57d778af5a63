"""Builds the site of README.md and docs/ into build/site: python docs/build_site.py (`make docs`).

MkDocs with the theme Material, strict: a link to nothing, or a page that the navigation lacks, ends it. Executed
notebooks of results/ are rendered where there are any. The site loads nothing from elsewhere.
"""

from __future__ import annotations

import posixpath
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OTHERS = {"README.md": "index.md", "inputs/README.md": "inputs.md", "checkpoints/README.md": "checkpoints.md",
          "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
SCRIPT = re.compile(r"<script\b.*?</script>", re.S)


def sources() -> dict[str, str]:
    """Every file of the project that the site is made of, relative to the root -> its name among the staged pages."""
    beside = {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").iterdir())
              if path.suffix in (".md", ".png", ".webp", ".gif", ".css")}
    measured = {f"benchmarks/results/{path.name}": path.name
                for path in sorted((ROOT / "benchmarks" / "results").glob("*.json"))}
    return OTHERS | beside | measured


def stage(pages: Path, results: Path) -> None:
    """Writes what MkDocs builds from into `pages`, anew, with every link turned to where its target now lies."""
    shutil.rmtree(pages, ignore_errors=True)
    pages.mkdir(parents=True)
    names = sources()
    for source, name in names.items():
        if not name.endswith(".md"):
            shutil.copyfile(ROOT / source, pages / name)
            continue

        def turned(found: re.Match[str], here: str = posixpath.dirname(source)) -> str:
            target = posixpath.normpath(posixpath.join(here, found[2]))
            return found[1] + names.get(target, found[2]) + found[3]

        (pages / name).write_text(LINK.sub(turned, (ROOT / source).read_text(encoding="utf-8")), encoding="utf-8")
    (pages / "notebooks.md").write_text(notebooks(pages, results), encoding="utf-8")


def notebooks(pages: Path, results: Path) -> str:
    """The page that lists the executed notebooks, after rendering each into pages/notebooks/."""
    lines = ["# Notebooks", "",
             "The pipeline's stages, each a notebook that runs top to bottom. `make lab` opens them.", ""]
    found = sorted(path for path in results.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    if not found:
        return "\n".join([*lines, "None has been run here: `make repro` runs them, `make docs` then shows them.", ""])
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="lab")
    for path in found:
        parts = [part for part in path.relative_to(results).with_suffix(".html").parts if part != "notebooks"]
        page = pages.joinpath("notebooks", *parts)
        page.parent.mkdir(parents=True, exist_ok=True)
        html, _ = exporter.from_filename(str(path))
        page.write_text(offline(html), encoding="utf-8")
        lines.append(f"- [{' / '.join(parts).removesuffix('.html')}]({'/'.join(['notebooks', *parts])})")
    return "\n".join([*lines, ""])


def offline(html: str) -> str:
    """A notebook's page without the scripts that nbconvert would load from elsewhere (formulas, diagrams, widgets)."""
    return SCRIPT.sub(lambda found: "" if re.search(r"https://(cdnjs|unpkg|cdn)\.", found[0]) else found[0], html)


def build(site: Path, pages: Path, results: Path) -> None:
    """Builds the site. Raises mkdocs.exceptions.Abort, an exit, for any warning."""
    from mkdocs.commands.build import build as build_site
    from mkdocs.config import load_config

    stage(pages, results)
    config = load_config(str(ROOT / "docs" / "mkdocs.yml"), docs_dir=str(pages), site_dir=str(site), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build_site(config)


if __name__ == "__main__":
    build(ROOT / "build" / "site", ROOT / "build" / "pages", ROOT / "results")
    print("build/site/index.html; with search: python -m http.server --directory build/site")
