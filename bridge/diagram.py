"""Draws the tables of `bridge.legs` into `docs/architecture.md`.

`python -m bridge.diagram` writes them anew between their markers; a test fails when the page and the tables differ.
"""

import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from bridge import events as e
from bridge.legs import CALL, TEXT, Kind

PAGE = Path("docs/architecture.md")
TABLES: Mapping[str, Mapping[Any, Mapping[Kind, Any]]] = {"call leg": CALL, "text leg": TEXT}


class MarkerError(Exception):
    """The page has no such pair of markers. Nothing has changed."""


def between(page: str, name: str, body: str) -> str:
    """Put *body* between the markers called *name*; everything around them stays.

    Raises:
        MarkerError: The pair is missing or stands there twice.
    """
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise MarkerError(f"exactly one pair is needed: {begin} and then {end}")
    head, _, rest = page.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n\n{body.strip()}\n\n{end}{tail}"


def diagram(table: Mapping[Any, Mapping[Kind, Any]]) -> str:
    """A Mermaid state diagram of *table*, and a Markdown table of what leaves a state as it is."""
    first, *_ = table
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR", f"    [*] --> {first}"]
    for state, row in table.items():
        others = [target for target in dict.fromkeys(row.values()) if target != state]
        lines += [f"    {state} --> {target}: {_names(row, target, '<br/>')}" for target in others]
        if not row:
            lines.append(f"    {state} --> [*]")
    lines += ["```", "", "| state | stays as it is on |", "| --- | --- |"]
    lines += [f"| `{state}` | {_names(row, state, ', ') or 'nothing'} |" for state, row in table.items()]
    return "\n".join(lines)


def page_with_tables(page: str) -> str:
    """The page with every table drawn as it is now."""
    for name, table in TABLES.items():
        page = between(page, name, diagram(table))
    return page


def _names(row: Mapping[Kind, StrEnum], target: StrEnum, separator: str) -> str:
    return separator.join(_name(kind) for kind, state in row.items() if state == target)


def _name(kind: Kind) -> str:
    """An event by its name; what we do, or what a flow says, with who says it."""
    if issubclass(kind, e.Event):
        return kind.__name__
    return f"we {kind.__name__}" if issubclass(kind, e.Command) else f"flow {kind.__name__}"


def main() -> int:
    """Rewrite the page in the working folder."""
    PAGE.write_text(page_with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
