"""The report's tables: (header, rows), a cell being text or {"text", "href", "flag"}, with its link and its dagger."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote

from eval.publish import ranking, table1
from eval.publish.formats import counted, several
from eval.publish.report_cells import Cells
from eval.publish.report_first import kinds
from eval.publish.votes import cells as answers
from eval.records.video import FLOWS
from eval.registry import DIRECTIONS, METRICS, UNITS, heading, quoted, reading
from eval.statistics.small import around
from eval.study.form import QUESTIONS


def linked(rows: list[list[str]], href: str) -> list[list]:
    """Every number of this run's rows with a link to the cell that computed it; published rows are the paper's."""
    def one(text: str) -> str | dict:
        return {"text": text, "href": href} if any(char.isdigit() for char in text) else text

    return [row if row[0].endswith("published") else [row[0], *map(one, row[1:])] for row in rows]


def measured(tables: dict[str, dict], cells: Cells) -> list[tuple]:
    """(title, (header, rows), link) of each Table 1b: a video's numbers are its own notebook's, means this one's."""
    found = []
    for title, group in table1.groups(tables).items():
        href = cells.of_paper("table") if len(group) > 1 else cells.of_video(next(iter(group)), "4_evaluate", "run")
        header, rows = table1.table1b(group)
        found.append((title, (header, linked(rows, href)), href))
    return found


def differences(tables: dict[str, dict], cells: Cells) -> tuple | None:
    """(title, (header, rows)) of the paired differences; None where the numbers are older than these."""
    if not all("differences" in table for table in tables.values()):
        return None
    header, rows = table1.table1c(tables)
    return table1.table1c_title(tables), (header, linked(rows, cells.of_paper("table")))


def every(video: str, table: dict, cells: Cells) -> dict:
    """Every metric of one video: its table and, apart, each refusal with its reason."""
    labels, methods = table["labels"], table["methods"]
    flags = {(flag["metric"], flag["control"]) for flag in table.get("flags", [])}
    href = cells.of_video(video, "4_evaluate", "run")
    rows, refused = _metrics(methods, labels, href, table["interval"]["unit"], flags)
    return {"video": video, "table": (["Metric", *labels.values()], rows), "href": href, "refusals": refused}


def against_vae(video: str, table: dict, cells: Cells) -> dict | None:
    """What compares with the real clip, beside the real clip through the autoencoder instead: {"table", "href",
    "refusals"}; None where the numbers are older."""
    if "against_vae" not in table:
        return None
    labels = {name: table["labels"][name] for name in table["against_vae"]}
    href = cells.of_video(video, "4_evaluate", "run")
    rows, refused = _metrics(table["against_vae"], labels, href, table["interval"]["unit"])
    return {"table": (["Metric", *labels.values()], rows), "href": href, "refusals": refused}


def _metrics(methods: dict, labels: dict[str, str], href: str, unit: str, flags: set | frozenset = frozenset()):
    """(rows, refusals): a row a metric that these numbers have, a column a method; and each reason once. unit: what is
    counted, as `interval.unit` has it."""
    refused: dict[tuple[str, str], list[str]] = {}
    rows = []
    for metric, measured_in in UNITS.items():
        entries = {method: values[metric] for method, values in methods.items() if metric in values}
        if not entries:
            continue  # measured by a newer version than that which wrote these numbers, or not of this table
        rows.append([f"{METRICS[metric].label} ({measured_in}; good: {reading(DIRECTIONS[metric])})", *(
            {"text": entry(entries[method], unit), "href": href, "flag": (metric, method) in flags}
            if "value" in entries.get(method, {}) else "-" for method in labels)])
        for method, one in entries.items():
            if "refused" in one:
                refused.setdefault((metric, one["refused"]), []).append(labels[method])
    return rows, [f"{quoted(metric)} refused (-) for {'; '.join(names)}: {reason}"
                  for (metric, reason), names in refused.items()]


def flows(video: str, table: dict, cells: Cells) -> dict | None:
    """{"said", "table"}: which films and controls the two optical flows, DIS and RIFE, rank differently; the table is
    None where there are none. None where the numbers are older than the second flow."""
    if "flow_disagreements" not in table:
        return None
    labels, href = table["labels"], cells.of_video(video, "4_evaluate", "two-flows")
    for metrics in FLOWS.values():
        refused = [row[metric]["refused"] for row in table["methods"].values() for metric in metrics
                   if "refused" in row.get(metric, {})]
        if len(refused) >= len(table["methods"]):
            return {"said": f"The two optical flows cannot be held against each other: {refused[0]}.", "table": None}
    rows = []
    for what, metrics in FLOWS.items():
        for case in table["flow_disagreements"].get(what, []):
            a, b = (labels[name] for name in case["methods"])
            order = ["{} {:.3g} < {} {:.3g}".format(*(part for pair in sorted(
                zip((a, b), case[metric]), key=lambda pair: pair[1]) for part in pair)) for metric in metrics]
            rows.append([METRICS[metrics[0]].label, *({"text": text, "href": href} for text in order)])
    if not rows:
        by = " and by ".join(METRICS[metrics[0]].label for metrics in FLOWS.values())
        return {"said": f"Two optical flows, DIS and RIFE, rank every two of these films and controls alike, by {by}.",
                "table": None}
    said = f"Two optical flows, DIS and RIFE, rank {several(len(rows), 'pair')} of films or controls differently"
    return {"said": f"{said}: there neither order is to be trusted.",
            "table": (["Measure", "By DIS", "By RIFE"], rows), "href": href}


def entry(found: dict, unit: str = "film") -> str:
    """`0.971 [0.95, 0.99], 8 films`: a mean with its interval; `0.971 (0.949 to 0.994), 4 films, 2 fine-tunes`: with
    the range of its few films, and what is counted where they share it (`counted`)."""
    beside = around(found, lambda number: f"{number:.3g}").strip(), *counted(found, unit).split(", ")
    first, *rest = (part.replace(" ", "\u00a0") for part in beside)  # a narrow cell breaks between them
    return f"{found['value']:.4g}{first and ' '}{', '.join([first, *rest])}"


def ranks(table: dict, href: str) -> tuple[list[str], list[list]]:
    """The order of films and controls in each metric, and what it says."""
    rows = []
    for metric, one in ranking.ranks(table).items():
        said = heading(metric) + ("" if one["beside_vae"] else " (beside the clip itself)")
        rows.append([said, reading(DIRECTIONS[metric]), {"text": ranking.order(table, metric, one), "href": href},
                     ranking.of_metric(table, one), ranking.of_film(table, one)])
    return ["Metric", "Good", "Order, best first", "Of the metric", "Of our films: they stand"], rows


def read_ledger(out: Path) -> dict | None:
    """The ledger of the paper's claims that `lnm claims` left beside the report; None where it is not."""
    path = out / "claims.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def claims(ledger: dict, videos: list[str], cells: Cells) -> dict:
    """{"line", "kinds"}: the counts, and of each kind of verdict that occurs its table."""
    columns = ("section", "quote", "published", "computed", "reason")
    found = []
    for kind, count in ledger["counts"].items():
        rows = []
        for row in ledger["claims"]:
            if row["verdict"] == kind:
                said = {column: _text(row[column]) for column in columns}
                computed = {"text": said.pop("computed"), "href": cells.of_claim(row.get("notebook", ""), videos)}
                rows.append([row["id"], said["section"], said["quote"], said["published"], computed, said["reason"]])
        if rows:
            found.append({"kind": kind, "count": count, "table": (["Claim", *map(str.capitalize, columns)], rows)})
    return {"line": f"{len(ledger['claims'])} claims: {ranking.listed(kinds(ledger['counts']))}", "kinds": found}


def _text(value) -> str:
    if isinstance(value, list):
        return " […] ".join(map(str, value))
    return "-" if value is None else str(value)


def study(results: Path, out: Path, cells: Cells) -> dict | None:
    """What results/human_study/summary.json says; None where the study has not been run."""
    folder = results / "human_study"
    if not (folder / "summary.json").is_file():
        return None
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    page, answered = folder / "study.html", answers(summary)
    said = "No responses yet: nobody has been asked about these films." if not answered else (
        f"{summary['votes']} votes of {summary['observers']} observers.")
    rows = [[method, *(shares.get(question, "-") for question in QUESTIONS)] for method, shares in answered.items()]
    href = cells.link(folder / "5_human_study.ipynb", "answers")
    return {"said": said, "page": quote(os.path.relpath(page, out).replace(os.sep, "/")) if page.is_file() else "",
            "table": (["Method", *map(str.capitalize, QUESTIONS)], linked(rows, href)) if rows else None}
