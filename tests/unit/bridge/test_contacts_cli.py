"""`sidetone contacts import` from a shell."""

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.cli import main
from bridge.journal import Journal

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "sidetone.yaml"
    path.write_text(json.dumps({"data": str(tmp_path / "data")}))
    return path


def run(settings: Path, words: str, *more: str) -> tuple[int, str]:
    file = settings.with_name("people.csv")
    file.write_text(words)
    done = CliRunner().invoke(main, ["contacts", "import", str(file), "-c", str(settings), *more])
    return done.exit_code, done.output


async def names(settings: Path) -> set[str | None]:
    url = f"sqlite:///{settings.parent}/data/sidetone.db"
    async with Journal.open(url) as journal:
        return {one.fields.name for one in await journal.find_contacts("", 9)}


async def test_a_file_is_tried_out_and_brought_in(settings: Path) -> None:
    """With a table of what became of it; the file itself stays where it is."""
    words = "Name,Phone,Rubbish\nAnn,5550100123,x\n"
    status, said = await asyncio.to_thread(run, settings, words, "--dry-run")
    assert (status, "nothing has been changed" in said, await names(settings)) == (0, True, set())
    status, said = await asyncio.to_thread(run, settings, words, "--map", "Rubbish=custom")
    assert (status, "Imported" in said, await names(settings)) == (0, True, {"Ann"})
    assert settings.with_name("people.csv").exists()


async def test_what_was_left_out_is_in_the_report(settings: Path) -> None:
    """And the status says so."""
    report = settings.with_name("errors.csv")
    status, _ = await asyncio.to_thread(run, settings, "Name,Phone\nAnn,x\nBob,5550100124\n", "--errors", str(report))
    assert (status, await names(settings)) == (1, {"Bob"})
    assert report.read_text().splitlines()[1] == "2,Phone,x,x is not a telephone number."


@pytest.mark.parametrize(
    ("words", "more", "why"),
    [
        ("", (), "first line"),
        ("Name\nAnn\n", (), "recognise"),
        ("Phone\n1\n", ("--map", "Phone"), "COLUMN=FIELD"),
        ("Phone\n1\n", ("--map", "Phone=shoes"), "COLUMN=FIELD"),
        ("Phone\n1\n", ("--map", "Phone=-"), "recognise"),
    ],
)
async def test_what_cannot_be_done_is_said(settings: Path, words: str, more: tuple[str, ...], why: str) -> None:
    """In one sentence, with status 2."""
    status, said = await asyncio.to_thread(run, settings, words, *more)
    assert (status, why in said) == (2, True)
