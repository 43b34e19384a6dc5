"""axe-core in a page of a test: what a machine can see of accessibility."""

import json
from functools import cache
from pathlib import Path

from playwright.async_api import Page

SOURCE = Path(__file__).parent / "vendor" / "axe.min.js"


@cache
def _source() -> str:
    return SOURCE.read_text(encoding="utf-8")


async def complaints(page: Page, inside: str = "document") -> list[str]:
    """Every violation of axe-core's rules (WCAG 2.2 A and AA, and good practice) on *page* as it is now.

    Args:
        page: What is looked at.
        inside: An expression of JavaScript: the part of the page.
    """
    await page.evaluate(_source())
    found = await page.evaluate(
        f"axe.run({inside}, {{resultTypes: ['violations']}}).then((said) => JSON.stringify(said.violations))"
    )
    return [
        f"{rule['id']}: {node['target']} {node['html'][:160]}: {node['failureSummary'].splitlines()[-1].strip()}"
        for rule in json.loads(found)
        for node in rule["nodes"]
    ]
