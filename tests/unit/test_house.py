"""The house is as the docs and the contracts say."""

import ast
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from bridge import diagram
from bridge import events as e
from bridge.correlation import RANK
from bridge.journal import tables
from bridge.metrics import Metrics
from bridge.settings import Settings, load_settings
from bridge.waiting import WaitMetrics
from bridge.web.metrics import WebMetrics
from scripts import settings_table

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


class Light(StrEnum):
    """States of a small machine."""

    OFF = "off"
    ON = "on"


SMALL: Mapping[Light, Mapping[Any, Light]] = {
    Light.OFF: {e.CallArrived: Light.ON, e.AnswerCall: Light.ON},
    Light.ON: {e.DigitsReceived: Light.ON},
}


def test_nobody_imports_what_they_must_not() -> None:
    """Leaves are independent, the shell stands above the core, and the core reaches neither a clock nor a socket."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_diagrams_are_those_of_the_tables() -> None:
    """`docs/architecture.md` shows the legs as `bridge.legs` has them; `make docs` writes it anew."""
    page = read("docs/architecture.md")
    assert page == diagram.page_with_tables(page)


def test_the_table_of_settings_is_that_of_the_code() -> None:
    """`docs/operations.md` lists every setting with its default; `make docs` writes it anew."""
    page = read("docs/operations.md")
    assert page == settings_table.page_with_table(page)


def test_a_diagram_draws_moves_and_lists_what_stays() -> None:
    """Moves between two states share an arrow, what changes nothing is listed, and a command is told from an event."""
    drawn = diagram.diagram(SMALL)
    assert "    [*] --> off\n    off --> on: CallArrived<br/>we AnswerCall\n```" in drawn
    assert "| `off` | nothing |\n| `on` | DigitsReceived |" in drawn


def test_between_markers_only_the_inside_changes() -> None:
    """What stands around a pair of markers stays, letter for letter, and writing twice changes nothing."""
    page = "before\n<!-- begin: x -->\nold\n<!-- end: x -->\nafter\n"
    once = diagram.between(page, "x", "new")
    assert once == "before\n<!-- begin: x -->\n\nnew\n\n<!-- end: x -->\nafter\n"
    assert diagram.between(once, "x", "new") == once


@pytest.mark.parametrize("page", ["", "<!-- end: x --><!-- begin: x -->", "<!-- begin: x --><!-- begin: x --><!-- end: x -->"])
def test_a_page_without_one_pair_of_markers_is_refused(page: str) -> None:
    """A missing, doubled or reversed marker is an error, so that nothing is written into the wrong place."""
    with pytest.raises(diagram.MarkerError):
        diagram.between(page, "x", "new")


def test_every_kind_of_timeline_line_is_explained() -> None:
    """The section Timeline has exactly the kinds that sessions record."""
    recorded = {
        node.args[0].value
        for module in ("session", "call_leg", "text_leg", "chat", "conversation", "supervisor/service")
        for node in ast.walk(ast.parse(read(f"bridge/{module}.py")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "_record"
        and isinstance(node.args[0], ast.Constant)
    }
    _, _, section = read("docs/architecture.md").partition("## Timeline")
    section, _, _ = section.partition("\n## ")
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", section, re.MULTILINE)) == recorded


def test_every_table_of_the_journal_is_explained() -> None:
    """The section on the journal names every table."""
    _, _, section = read("docs/architecture.md").partition("## The journal")
    assert {name for name in tables.metadata.tables if f"`{name}`" not in section} == set()


def test_every_rank_of_correlation_is_explained() -> None:
    """The section on correlation has a row for each kind of session a text may go to."""
    _, _, section = read("docs/architecture.md").partition("## Which session a text belongs to")
    section, _, _ = section.partition("\n## ")
    assert len(re.findall(r"^\| \d \|", section, re.MULTILINE)) == len(RANK)


def test_every_metric_is_explained() -> None:
    """`docs/operations.md` names every metric of ours."""
    registry = CollectorRegistry()
    Metrics(registry)
    WebMetrics(registry)
    WaitMetrics(registry)
    page = read("docs/operations.md")
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in registry.collect()}
    assert {name for name in names if name not in page} == set()


def test_every_log_event_that_is_explained_exists() -> None:
    """The table of log events has none that the code does not write."""
    _, _, section = read("docs/operations.md").partition("## Logs")
    section, _, _ = section.partition("\n## ")
    told = {name for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for name in re.findall(r"`([a-z_.]+)`", row)}
    written = set()
    for path in (path for package in ("bridge", "sms") for path in (ROOT / package).rglob("*.py")):
        written |= set(re.findall(r'log\.[a-z]+\(\s*"([a-z_.]+)"', path.read_text(encoding="utf-8")))
    assert told - written == set()
    assert told


def test_the_example_settings_load() -> None:
    """`config/sidetone.example.yaml` is a usable file."""
    settings = load_settings(ROOT / "config" / "sidetone.example.yaml")
    assert settings.numbers[0].desk == "support_sms"


def test_the_example_names_every_setting() -> None:
    """Whoever reads the example has seen every setting."""
    example = read("config/sidetone.example.yaml")
    keys = {key.rstrip(".").removesuffix("[]").removesuffix(".NAME").rpartition(".")[2] for key in _keys()}
    assert {key for key in keys if not re.search(rf"^[ -]*{key}:", example, re.MULTILINE)} == set()


def test_every_setting_has_a_meaning() -> None:
    """The table has no empty cell in its last column."""
    assert {key for key, _, meaning in settings_table.rows(Settings) if not meaning} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of the docs names a file that is there, and a heading that it has."""
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


def test_help_names_every_target_that_is_meant_for_people() -> None:
    """`make help` and the Makefile agree."""
    makefile = read("Makefile")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) - {"help", "set-up"}
    assert set(re.findall(r'@echo "make ([a-z-]+) ', makefile)) == targets


def test_the_health_check_of_the_image_is_a_program() -> None:
    """The command of HEALTHCHECK is a JSON list whose program Python can read."""
    found = re.search(r"^    CMD (\[.*\])$", read("Dockerfile"), re.MULTILINE)
    assert found is not None
    python, flag, program = json.loads(found[1])
    assert (python, flag) == ("python", "-c")
    ast.parse(program)


def test_one_version_of_uv_makes_every_environment() -> None:
    """The image and the virtualenv are made by the same uv."""
    assert set(re.findall(r"uv(?:_version=|==)(\d[\d.]*)", read("Dockerfile") + read("scripts/set-up"))) == {"0.13.9"}


def _keys() -> list[str]:
    return [key for key, _, _ in settings_table.rows(Settings)]
