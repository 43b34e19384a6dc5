"""Reports as files: CSV for a spreadsheet, plain values for a program, and figures as people write them."""

import csv
import io
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from bridge.reports.definitions import MEASURES, REPORTS, Unit
from bridge.web.ports_reports import Row, Sheet

NOTHING = "\N{EN DASH}"
"""Stands where there is nothing to say."""


def shown(value: float | None, unit: Unit, currency: str = "") -> str:
    """A figure for people, in English; a dash where there is nothing to say."""
    if value is None:
        return NOTHING
    match unit:
        case "share":
            return f"{100 * value:.1f} %"
        case "seconds":
            minutes, seconds = divmod(abs(round(value)), 60)
            hours, minutes = divmod(minutes, 60)
            sign = "-" if round(value) < 0 else ""
            return sign + (f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}")
        case "money":
            return f"{value:,.2f} {currency}".strip()
        case "number":
            return f"{value:.2f}"
        case "count":
            return f"{value:,.0f}"


def as_csv(sheet: Sheet) -> str:
    """The table of a report as CSV (RFC 4180), the total in the last line; seconds, shares from 0 to 1, empty where unknown."""
    report = REPORTS[sheet.question.report]
    out = io.StringIO()
    writer = csv.writer(out)
    by = sheet.question.by
    writer.writerow([*by, *report.columns])
    for row in sheet.rows:
        labels = [harmless(title if value is not None else "") for title, value in zip(row.titles, row.key, strict=True)]
        writer.writerow([*labels, *(_plain(row.figures[ident]) for ident in report.columns)])
    writer.writerow([*(["total"] + [""] * (len(by) - 1))[: len(by)], *(_plain(sheet.total[ident]) for ident in report.columns)])
    return out.getvalue()


def harmless(cell: str) -> str:
    """*cell* so that no spreadsheet takes it for a formula."""
    return f"'{cell}" if cell[:1] in {"=", "+", "-", "@", "\t", "\r"} else cell


def _plain(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def as_values(sheet: Sheet) -> dict[str, Any]:
    """A report as plain values, ready for JSON."""
    report, question = REPORTS[sheet.question.report], sheet.question
    return {
        "report": report.name,
        "since": _iso(question.range.since, question.range.zone),
        "until": _iso(question.range.until, question.range.zone),
        "zone": question.range.zone,
        "by": list(question.by),
        "every": question.every,
        "made_at": datetime.fromtimestamp(sheet.made_at, UTC).isoformat(timespec="seconds"),
        "currency": sheet.currency,
        "columns": [
            {
                "id": measure.id,
                "title": measure.title,
                "unit": measure.unit,
                "words": measure.words,
                "formula": measure.formula,
                "variant": measure.variant,
            }
            for measure in (MEASURES[ident] for ident in report.columns)
        ],
        "rows": [_row_values(row, sheet) for row in sheet.rows],
        "total": {ident: sheet.total[ident] for ident in report.columns},
        "before": {ident: sheet.before[ident] for ident in report.columns},
    }


def _row_values(row: Row, sheet: Sheet) -> dict[str, Any]:
    figures = {ident: row.figures[ident] for ident in REPORTS[sheet.question.report].columns}
    return {"key": dict(zip(sheet.question.by, row.key, strict=True)), "figures": figures}


def _iso(at: float, zone: str) -> str:
    return datetime.fromtimestamp(at, ZoneInfo(zone)).isoformat(timespec="seconds")
