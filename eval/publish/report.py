"""The report: one HTML file that opens offline, with the films playing in it and nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from eval.publish import report_first, report_provenance, report_tables, table1
from eval.publish.figures.every import write_all
from eval.publish.report_cells import Cells
from eval.publish.report_films import encoded, video
from eval.publish.votes import votes_of
from eval.records.run import read_tables
from lnm.files import whole
from lnm.project import root
from lnm.workflow.commit import head

# all of them named here, because a stage's hash follows names
TEMPLATES = ("templates/report.html", "templates/macros.html", "templates/first.html", "templates/sections.html",
             "templates/report.css", "templates/report.js")


def write(results: Path, videos: list[str], out: Path, commit: str | None = None,
          figures: list[Path] | None = None) -> Path:
    """Writes out/report.html from results/<video>/ and returns its path.

    commit: what to print as the commit that writes the report; None asks git, and says "unknown" without it.
    figures: what `write_all` has just drawn of the same results; None draws them anew, so that no figure of an older
    run stands beside new tables (figures 1 and 2, which need the model, are then left out).
    """
    if figures is None:
        figures = write_all(results, videos, out)
    tables = read_tables(results, videos)
    cells, commit = Cells(results, out), commit or head(root())
    ledger = report_tables.read_ledger(out)
    folder = out / "figures"
    model = [folder / f"{name}.png" for name in ("figure1", "figure2")]
    header, rows = table1.table1(tables, votes_of(results))
    page = _render(
        sentences=report_first.sentences(tables, ledger, cells),
        chart=report_first.chart(tables, cells),
        measures=report_first.measures(tables, cells),
        videos=[video(results, name, table, out, cells) for name, table in tables.items()],
        checkpoint=next(iter(tables.values()))["backend"]["checkpoint"],
        table1=(header, report_tables.linked(rows, cells.of_paper("table"))),
        table1b=report_tables.measured(tables, cells),
        table1c=report_tables.differences(tables, cells),
        notes=[{"text": note, "href": cells.of_paper("table")} for note in table1.notes(tables)],
        ranks=[(name, report_tables.ranks(table, cells.of_paper("ranks"))) for name, table in tables.items()],
        flows=[report_tables.flows(name, table, cells) for name, table in tables.items()],
        every=[report_tables.every(name, table, cells) for name, table in tables.items()],
        against_vae=[report_tables.against_vae(name, table, cells) for name, table in tables.items()],
        metrics_png=encoded(folder / "metrics.png"),
        loss_png=encoded(folder / "loss.png"),
        model=[encoded(path) for path in model] if set(model) <= set(figures) else None,
        claims=report_tables.claims(ledger, videos, cells) if ledger else None,
        study=report_tables.study(results, out, cells),
        stages=report_provenance.stages(results, tables, commit, cells),
        provenance=report_provenance.whole(results, tables, commit),
        cells=cells,
    )
    path = out / "report.html"
    with whole(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _render(**found) -> str:
    """The page: the templates filled in. The one script is in the page and named by its hash, so no other runs."""
    from jinja2 import DictLoader, Environment, StrictUndefined
    from markupsafe import Markup

    texts = {Path(name).name: (Path(__file__).parent / name).read_text(encoding="utf-8") for name in TEMPLATES}
    script = texts["report.js"]
    environment = Environment(loader=DictLoader(texts), autoescape=True, trim_blocks=True, lstrip_blocks=True,
                              undefined=StrictUndefined)
    return environment.get_template("report.html").render(
        style=Markup(texts["report.css"]), script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"), **found)
