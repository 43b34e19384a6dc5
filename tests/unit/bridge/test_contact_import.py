"""CSV files become contacts: recognised, tried out, brought in once, with a report of what was left out."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.crm import imports as nodes
from bridge.crm.csv_import import CsvImports, ImportRefusedError, Progress
from bridge.crm.csv_rows import BadRowError, check, contact_of, guess, harmless
from bridge.crm.imports import NodesImports
from bridge.journal import Journal
from bridge.journal.crm_rows import ContactFields
from tests.unit.bridge.two_nodes import two_nodes

GOOD = """First name;Last name;Phone;Mobile phone;E-mail;Company;Langue;Kundennummer
Maria;Silva;(555) 010-0123;+1 555 010 0124;maria@example.com;Example;es;7
Bob;;555-010-0125;;;;;8
"""


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal.open(f"sqlite:///{tmp_path}/journal.db") as opened:
        yield opened


@pytest.fixture
async def imports(journal: Journal, tmp_path: Path) -> AsyncIterator[CsvImports]:
    made = CsvImports(journal, tmp_path / "imports", clock=lambda: 1000.0, region="US")
    yield made
    await made.close()


async def take(imports: CsvImports, words: str | bytes) -> Progress:
    path = imports.folder / f"{len(list(imports.folder.iterdir()))}.csv"
    path.write_bytes(words.encode() if isinstance(words, str) else words)
    return await imports.take("people.csv", path)


async def bring(imports: CsvImports, taken: Progress, *, dry_run: bool = False, **mapping: str) -> Progress:
    imports.start(taken.id, {**taken.mapping, **mapping}, "agent:ann", dry_run=dry_run)
    return await imports.finished(taken.id)


async def errors(imports: CsvImports, taken: Progress) -> list[list[str]]:
    words = b"".join([chunk async for chunk in imports.errors(taken.id)])
    return list(csv.reader(io.StringIO(words.decode())))


async def test_columns_are_recognised_and_rows_become_contacts(imports: CsvImports, journal: Journal) -> None:
    """Numbers as people write them, names in two columns, an id under a title of its own."""
    taken = await take(imports, GOOD)
    assert (taken.rows, taken.mapping["Mobile phone"], taken.mapping["Langue"]) == (2, "phones", "language")
    assert taken.sample[1][0] == "Bob"
    done = await bring(imports, taken, Kundennummer="id")
    assert (done.state, done.done, done.created, done.wrong) == ("done", 2, 2, 0)
    (maria,) = await journal.contacts_with("+15550100124")
    assert maria.fields == ContactFields(
        name="Maria Silva",
        company="Example",
        language="es",
        phones=("+15550100123", "+15550100124"),
        mails=("maria@example.com",),
        external={"import": "7"},
    )


async def test_the_same_file_again_changes_nothing(imports: CsvImports, journal: Journal) -> None:
    """Also one whose columns stand in another order, or that has no ids."""
    first = await bring(imports, await take(imports, GOOD), Kundennummer="id")
    again = await bring(imports, await take(imports, GOOD), Kundennummer="id")
    without = await bring(imports, await take(imports, "Mobile;Name\n5550100123;Maria Silva\n5550100125;bob\n"))
    assert (first.created, again.created, again.same, without.created) == (2, 0, 2, 0)
    assert await journal.count_contacts() == 2


async def test_a_dry_run_says_what_would_be(imports: CsvImports, journal: Journal) -> None:
    """And nothing is."""
    taken = await take(imports, GOOD)
    tried = await bring(imports, taken, dry_run=True)
    assert (tried.state, tried.created, await journal.count_contacts()) == ("done", 2, 0)
    done = await bring(imports, taken)
    assert (done.created, await journal.count_contacts()) == (2, 2)


async def test_what_cannot_be_kept_is_reported_with_line_column_and_why(imports: CsvImports) -> None:
    """The rest is brought in; a cell is no formula for whoever opens the report."""
    taken = await take(
        imports, "Name,Phone,Mail\nAnn,+nonsense,\nBob,5550100125,bob\nCleo,,\nDan,5550100126,,\nEve,5550100127,\n"
    )
    done = await bring(imports, taken)
    assert (done.created, done.wrong) == (1, 4)
    assert await errors(imports, taken) == [
        ["line", "column", "value", "why"],
        ["2", "Phone", "'+nonsense", "+nonsense is not a telephone number."],
        ["3", "Mail", "bob", "bob is not a mail address."],
        ["4", "", "", "The row has neither a telephone number nor a mail address nor an id."],
        ["5", "", "", "The row has 4 values, and there are 3 columns."],
    ]


async def test_rows_find_the_contacts_they_belong_to(imports: CsvImports, journal: Journal) -> None:
    """By id, then by phone; two names with one phone are two people, and a name is given to who had none."""
    await bring(imports, await take(imports, "ID,Phone\n1,5550100123\n"))
    done = await bring(imports, await take(imports, "ID,Phone,Name\n1,5550100124,Ann\n2,5550100123,Bob\n"))
    assert (done.created, done.changed) == (1, 1)
    done = await bring(imports, await take(imports, "Phone,Name,Plan\n5550100124,Cleo,\n5550100124,Ann,gold\n"), Plan="custom")
    assert (done.created, done.changed) == (1, 1)
    ann = await journal.contact_of_external("import", "1")
    assert ann is not None
    assert (ann.fields.name, ann.fields.custom) == ("Ann", {"Plan": "gold"})
    assert ann.fields.phones == ("+15550100123", "+15550100124")
    assert {one.fields.name for one in await journal.contacts_with("+15550100124")} == {"Ann", "Cleo"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
async def test_files_come_in_the_encodings_of_spreadsheets(imports: CsvImports, journal: Journal, encoding: str) -> None:
    """With accents and either line end."""
    await bring(imports, await take(imports, "Nom complet\tTéléphone\r\nZoë Müller\t5550100123\r\n".encode(encoding)))
    assert [one.fields.name for one in await journal.find_contacts("zoe muller", 5)] == ["Zoë Müller"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("", "first line"),
        ("Phone\n", "no rows"),
        ("Phone,Phone\n1,2\n", "title of its own"),
        ("Phone,\n1,2\n", "title of its own"),
        ("\0\1\2\n", "first line"),
        (",".join(f"c{n}" for n in range(101)) + "\n1\n", "at most 100"),
    ],
)
async def test_what_is_no_table_is_not_taken(imports: CsvImports, words: str, why: str) -> None:
    """In words, and nothing is left on the disk."""
    with pytest.raises(ImportRefusedError, match=why):
        await take(imports, words)
    assert list(imports.folder.iterdir()) == []


async def test_an_import_is_started_once_and_with_sense(imports: CsvImports) -> None:
    """A mapping has to say how people are recognised; one that runs is not begun twice."""
    taken = await take(imports, GOOD)
    for mapping, why in (
        ({"Nowhere": "name"}, "no column"),
        ({"Phone": "shoe size"}, "none of"),
        ({"Company": "name", "Phone": "name"}, "Only one"),
        ({"Company": "name"}, "recognise"),
    ):
        with pytest.raises(ImportRefusedError, match=why):
            imports.start(taken.id, mapping, "agent:ann", dry_run=True)
    imports.start(taken.id, taken.mapping, "agent:ann", dry_run=True)
    with pytest.raises(ImportRefusedError, match="running"):
        imports.start(taken.id, taken.mapping, "agent:ann", dry_run=True)
    with pytest.raises(ImportRefusedError, match="no such import"):
        imports.start("nothing", {}, "agent:ann", dry_run=True)
    assert imports.state("nothing") is None
    assert [chunk async for chunk in imports.errors("nothing")] == []


async def test_others_go_on_while_thousands_of_rows_come_in(imports: CsvImports, journal: Journal) -> None:
    """Reading and writing get their turn between portions."""
    rows = "".join(f"Person {n},+1555{n:07}\n" for n in range(2000))
    taken = await take(imports, "Name,Phone\n" + rows)
    imports.start(taken.id, taken.mapping, "agent:ann", dry_run=False)
    seen = set()
    while (now := imports.state(taken.id)) is not None and now.state == "running":
        seen.add(await journal.count_contacts())
        await asyncio.sleep(0)
    done = await imports.finished(taken.id)
    assert (done.created, await journal.count_contacts()) == (2000, 2000)
    assert len(seen) > 3


def test_a_title_nobody_knows_is_left_to_people() -> None:
    """And one kind of value stands in one column, unless there may be many."""
    assert guess(["Name", "Full name", "Phone 2", "Shoe size", "E-Mail Address", "Prénom"]) == {
        "Name": "name",
        "Phone 2": "phones",
        "E-Mail Address": "mails",
        "Prénom": "first_name",
    }
    assert check(["Phone"], {"Phone": "phones"}) is None


def test_an_error_in_a_name_of_two_columns_names_one_of_them() -> None:
    """The report leads to the place."""
    with pytest.raises(BadRowError) as wrong:
        contact_of(
            ["x" * 90, "5550100123"],
            ["First", "Phone"],
            {"First": "first_name", "Phone": "phones"},
            system="import",
            region="US",
        )
    assert [fault.column for fault in wrong.value.faults] == ["First"]


@pytest.mark.parametrize(("cell", "safe"), [("=1+1", "'=1+1"), ("@x", "'@x"), ("plain", "plain"), ("", "")])
def test_cells_are_no_formulas(cell: str, safe: str) -> None:
    """What begins like one is quoted."""
    assert harmless(cell) == safe


async def test_two_processes_may_import_in_one_place(journal: Journal, tmp_path: Path) -> None:
    """The one that begins later takes away what a dead one has left, and nothing of the one that works."""
    place = tmp_path / "place"
    (place / "left").mkdir(parents=True)
    (place / "left" / "old.csv").touch()
    first = CsvImports(journal, place, clock=lambda: 1000.0, region="US")
    taken = await take(first, "Name,Phone\nAnn,5550100123\n")
    second = CsvImports(journal, place, clock=lambda: 1000.0, region="US")
    assert sorted(place.iterdir()) == sorted([first.folder, second.folder])
    assert second.state(taken.id) is None
    assert (await bring(first, taken)).created == 1
    await first.close()
    await second.close()
    assert list(place.iterdir()) == []


async def test_an_import_is_looked_at_and_begun_at_any_node(tmp_path: Path) -> None:
    """Where the file is not, the node that has it is asked; what nobody has is gone."""
    async with two_nodes(tmp_path) as (one, two):
        here, there = (
            NodesImports(CsvImports(node.journal, tmp_path / node.name, clock=lambda: 1000.0, region="US"), node.news)
            for node in (one, two)
        )
        path = here.folder / "people.csv"
        path.write_text("Name,Phone\nAnn,5550100123\nBob,12\n")
        taken = await here.take("people.csv", path)
        assert await there.state(taken.id) == taken
        with pytest.raises(ImportRefusedError, match="telephone numbers"):
            await there.start(taken.id, {}, "agent:ann", dry_run=False)
        assert (await there.start(taken.id, taken.mapping, "agent:ann", dry_run=False)).state == "running"
        while (now := await there.state(taken.id)) is not None and now.state == "running":
            pass
        assert (now and now.created, now and now.wrong) == (1, 1)
        report = b"".join([chunk async for chunk in there.errors(taken.id)])
        assert report == b"".join([chunk async for chunk in here.errors(taken.id)])
        assert b"12" in report
        await here.close()
        assert await there.state(taken.id) is None
        with pytest.raises(ImportRefusedError, match="upload the file again"):
            await there.start(taken.id, {}, "agent:ann", dry_run=False)
        assert [chunk async for chunk in there.errors(taken.id)] == []
        await there.close()


async def test_a_long_report_is_passed_on_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole lines of it."""
    monkeypatch.setattr(nodes, "MOST_PASSED_ON", 100)
    async with two_nodes(tmp_path) as (one, two):
        files = CsvImports(one.journal, tmp_path / "one", clock=lambda: 1000.0, region="US")
        NodesImports(files, one.news)
        there = NodesImports(CsvImports(two.journal, tmp_path / "two", clock=lambda: 1000.0, region="US"), two.news)
        taken = await take(files, "Name,Phone\n" + "Bob,12\n" * 50)
        await bring(files, taken)
        report = b"".join([chunk async for chunk in there.errors(taken.id)])
        assert 0 < len(report) <= 100
        assert report.endswith(b"\n")
        await files.close()
        await there.close()
