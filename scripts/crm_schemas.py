"""Writes the JSON Schemas of the CRM's webhook to `docs/schemas/crm/`, one file each (`make docs`)."""

import json
import sys
from pathlib import Path

from bridge.crm.webhook import SCHEMAS, schema

FOLDER = Path(__file__).parents[1] / "docs" / "schemas" / "crm"


def pages() -> dict[str, str]:
    """Name of each file and what stands in it."""
    return {f"{name}.json": json.dumps(schema(name), indent=2) + "\n" for name in SCHEMAS}


def main() -> int:
    """Rewrite the folder."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, page in pages().items():
        (FOLDER / name).write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
