"""Writes what every figure of the reports means into `docs/reports.md`: `python scripts/figures_table.py`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from bridge.diagram import between
from bridge.reports.definitions import COUNTED, MEASURES, REPORTS

PAGE = Path(__file__).parents[1] / "docs" / "reports.md"


def reports() -> str:
    """The reports, each with its figures and what it may be grouped by."""
    rows = ["| report | says | grouped by |", "| --- | --- | --- |"]
    rows += [f"| `{each.name}` | {each.words} | {', '.join(each.by)} |" for each in REPORTS.values()]
    return "\n".join(rows)


def figures() -> str:
    """Every figure: its words, formula and variant."""
    return "\n".join(_figures())


def _figures() -> Iterator[str]:
    yield "| figure | means | formula | variant |"
    yield "| --- | --- | --- | --- |"
    for measure in MEASURES.values():
        yield f"| `{measure.id}`: {measure.title} | {measure.words} | `{measure.formula}` | {measure.variant} |"


def counted() -> str:
    """Every counted thing."""
    return "\n".join(["| counted | is |", "| --- | --- |", *(f"| `{name}` | {words} |" for name, words in COUNTED.items())])


def page_with_tables(page: str) -> str:
    """*page* with its three tables as the code has them."""
    return between(between(between(page, "reports", reports()), "figures", figures()), "counted", counted())


def main() -> int:
    """Rewrite the page in the working folder."""
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
