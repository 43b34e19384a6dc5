"""Published settings and accounts from the command line."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bridge.app import origin_of
from bridge.cli import main
from bridge.journal import Journal
from bridge.journal.house import Entry, Revision
from bridge.settings import Settings, load_settings

FILE = """\
data: {data}
brand: House   # what customers read
queues:
  - id: support_sms
    channel: sms
agents:
  - id: ann
    name: Ann
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "sidetone.yaml"
    path.write_text(FILE.format(data=tmp_path / "data"), encoding="utf-8")
    return path


def sidetone(*words: object, typed: str = "", status: int = 0) -> str:
    """What the command says."""
    result = CliRunner().invoke(main, [str(word) for word in words], input=typed, env={"COLUMNS": "200"})
    assert result.exit_code == status, result.output
    return result.output


def test_a_document_is_exported_compared_published_and_taken_back(config: Path, tmp_path: Path) -> None:
    """With comments; the list tells who and why."""
    document = tmp_path / "house.yaml"
    text = sidetone("settings", "export", "-c", config)
    assert "brand: House   # what customers read" in text
    assert "data" not in text
    document.write_text(text.replace("House", "Home"), encoding="utf-8")
    assert sidetone("settings", "diff", document, "-c", config).strip() == 'brand: "House" -> "Home"'
    assert "Nothing has been published" in sidetone("settings", "list", "-c", config)
    assert "Revision 1" in sidetone("settings", "publish", document, "-c", config, "-m", "moved")
    assert "brand: Home   # what customers read" in sidetone("settings", "export", "-c", config)
    assert "brand: House" in sidetone("settings", "export", "--file", "-c", config)
    assert "Nothing would change" in sidetone("settings", "diff", document, "-c", config)
    assert "Revision 2" in sidetone("settings", "rollback", 0, "-c", config)
    assert "brand: Home" in sidetone("settings", "export", "--revision", 1, "-c", config)
    assert "brand: House" in sidetone("settings", "export", "-c", config)
    listed = sidetone("settings", "list", "-c", config)
    assert "2 (newest)" in listed
    assert "moved" in listed
    assert "Revision 3" in sidetone("settings", "rollback", 1, "-c", config)
    for missing in (("rollback", 9), ("export", "--revision", 9)):
        assert "no revision 9" in sidetone("settings", *missing, "-c", config, status=1)


def test_a_document_with_problems_is_not_published(config: Path, tmp_path: Path) -> None:
    """Every problem with line and column."""
    document = tmp_path / "house.yaml"
    document.write_text("brand: X\nweb: {port: 1}\n", encoding="utf-8")
    for command in ("diff", "publish", "import"):
        assert "settings:2:1: web: is not published" in sidetone("settings", command, document, "-c", config, status=1)
    assert "Nothing has been published" in sidetone("settings", "list", "-c", config)


def test_a_document_becomes_the_draft(config: Path, tmp_path: Path) -> None:
    """In place of the one there was."""
    document = tmp_path / "house.yaml"
    for brand in ("One", "Two"):
        document.write_text(f"brand: {brand}\n", encoding="utf-8")
        sidetone("settings", "import", document, "-c", config)

    async def draft() -> tuple[int, str]:
        async with Journal.open(load_settings(config).journal_url) as journal:
            found = await journal.draft()
            assert found is not None
            return found.version, found.text

    assert asyncio.run(draft()) == (2, "brand: Two\n")


def test_the_doctor_says_which_settings_hold(config: Path, tmp_path: Path) -> None:
    """The file's, or what was published; and what is wrong with that."""
    settings = load_settings(config)
    assert origin_of(settings) == ("settings of the house: the file's", settings)
    document = tmp_path / "house.yaml"
    document.write_text("queues: [{id: support}]\n", encoding="utf-8")
    sidetone("settings", "publish", document, "-c", config)
    words, house = origin_of(settings)
    assert words == "settings of the house: revision 1, which was published"
    assert isinstance(house, Settings)
    assert [queue.id for queue in house.queues] == ["support"]
    asyncio.run(_publish(settings, "queues: [{id: support, channel: fax}]"))
    _, wrong = origin_of(settings)
    assert isinstance(wrong, str)
    assert "published settings, revision 2:1:33: queues.0.channel" in wrong
    assert "revision 2" in sidetone("doctor", "-c", config, status=1)
    sidetone("settings", "rollback", 1, "-c", config)


async def _publish(settings: Settings, text: str) -> None:
    async with Journal.open(settings.journal_url) as journal:
        await journal.publish(Revision(1.0, "a", "", text), Entry(1.0, "a", "b", "c"), after=1)


def test_passwords_and_locks_are_set_from_the_command_line(config: Path) -> None:
    """For when nobody else can sign in."""
    assert "none" in sidetone("user", "list", "-c", config)
    password = "tea is better than coffee\n"
    sidetone("user", "password", "ann", "-c", config, typed=password * 2)
    assert "own" in sidetone("user", "list", "-c", config)
    assert "12 characters" in sidetone("user", "password", "ann", "-c", config, typed="short\nshort\n", status=1)
    assert "nobody" in sidetone("user", "password", "zoe", "-c", config, typed=password * 2, status=1)
    sidetone("user", "unlock", "ann", "-c", config)
