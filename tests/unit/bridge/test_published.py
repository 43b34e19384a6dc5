"""The part of the settings that is published: checked as the file is, put over it, compared, and changed piece by piece."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import published
from bridge.published import Change
from bridge.settings import DocumentError, Settings, load_settings, read_document

FILE = """\
brand: House   # what customers read
data: var
sms:
  provider: loopback   # file
  expire: 60           # house
queues:
  - id: support   # the first
    teams: [day]
  - id: chats
    channel: sms
agents:
  - id: ana
    name: Ana
    password_hash: secret-hash
    queues: [chats]
    teams: [day]
numbers:
  - number: "+15550100200"
    desk: chats
"""


@pytest.fixture
def base(tmp_path: Path) -> Settings:
    path = tmp_path / "sidetone.yaml"
    path.write_text(FILE, encoding="utf-8")
    return load_settings(path)


def problems(text: str, base: Settings) -> list[str]:
    with pytest.raises(DocumentError) as refusal:
        published.check(text, base)
    return [problem.at("draft") for problem in refusal.value.problems]


def test_what_the_file_says_of_the_house_is_a_document_that_means_the_same(base: Settings) -> None:
    """The first draft changes nothing; passwords are not in it, and the file's still count."""
    text = published.written(base)
    assert "secret-hash" not in text
    assert "provider" not in text
    after = published.check(text, base)
    assert published.differences(base, after) == ()
    assert after.agents[0].password_hash == base.agents[0].password_hash
    assert (after.data, after.sms.provider, after.sms.expire) == (base.data, "loopback", 60.0)


def test_a_file_is_exported_with_its_comments_and_without_its_secrets() -> None:
    """Comments and order stay, what is not published goes."""
    text = published.of_file(FILE)
    assert "# what customers read" in text
    assert "# the first" in text
    assert "# house" in text
    assert "secret-hash" not in text
    assert "provider" not in text
    assert "data" not in text
    assert published.of_file("sms: {provider: loopback}") == ""


def test_what_is_not_said_is_as_always_and_not_as_in_the_file(base: Settings) -> None:
    """A revision says everything there is to say of the house."""
    after = published.check("", base)
    assert (after.brand, after.queues, after.agents, after.sms.expire) == ("Sidetone", (), (), 0.0)


def test_the_environment_wins_over_what_is_published(base: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does over the file."""
    monkeypatch.setenv("SIDETONE_BRAND", "Other")
    assert published.check("brand: Third\n", base).brand == "Other"
    monkeypatch.setenv("SIDETONE_QUEUES", "[")
    assert problems("brand: Third\n", base)[0].startswith("draft:1:1: environment: ")


def test_every_problem_is_told_at_its_place(base: Settings) -> None:
    """Line and column are those of the draft, also for what is wrong between sections."""
    assert problems("queues:\n  - id: a\n    channel: fax\n  - id: b\n    wrap_up: -1\n", base) == [
        "draft:3:14: queues.0.channel: Input should be 'voice' or 'sms'",
        "draft:5:14: queues.1.wrap_up: Input should be greater than or equal to 0",
    ]
    assert problems("queues:\n  - id: a\n    desk: nowhere\nagents:\n  - {id: ana, name: Ana, queues: [gone]}\n", base) == [
        "draft:2:9: queue a: desk 'nowhere' is not a queue of channel sms",
        "draft:5:10: agent ana: there is no queue 'gone'",
    ]
    assert problems("sms: {unassigned: {action: queue}}", base) == [
        "draft:1:1: sms.unassigned: action queue needs a queue that exists"
    ]
    assert problems("brand: [", base)[0].startswith("draft:1:")
    assert problems("- a", base) == ["draft:1:1: the file must be a table of sections"]
    assert problems("sms: 7", base)[0].startswith("draft:1:6: sms: ")
    assert problems("a: " + "x" * published.MOST, base) == [f"draft:1:1: longer than {published.MOST} characters"]


def test_what_is_not_published_is_refused_with_the_reason(base: Settings) -> None:
    """Machines, money and secrets stay in the file."""
    assert problems("brand: X\nweb: {port: 1}\nsms:\n  provider: twilio\n", base) == [
        "draft:2:1: web: is not published: it stands in the settings file",
        "draft:4:3: sms.provider: is not published: it stands in the settings file",
    ]
    assert problems("agents:\n  - id: ana\n    password_hash: x\n", base) == [
        "draft:3:5: agents.0.password_hash: passwords are not published; they are set under People"
    ]


def test_differences_are_told_by_entry_and_key(base: Settings) -> None:
    """Added, removed, changed, and another order; a list of entries by their names."""
    text = """\
brand: House
sms: {expire: 90}
queues:
  - {id: chats, channel: sms}
  - {id: support, teams: [day], offers: {threshold: 30}}
  - {id: more}
agents:
  - {id: ben, name: Ben, teams: [day]}
hours:
  office: {week: {mon: ["09:00-17:00"]}}
"""
    changes = published.differences(base, published.check(text, base))
    found = {(change.kind, change.section, change.entry, change.key) for change in changes}
    assert found == {
        ("added", "queues", "more", None),
        ("changed", "queues", "support", "offers.threshold"),
        ("changed", "queues", None, "order"),
        ("removed", "agents", "ana", None),
        ("added", "agents", "ben", None),
        ("removed", "numbers", "+15550100200", None),
        ("added", "hours", "office", None),
        ("changed", "sms.expire", None, None),
    }
    assert Change("changed", "sms.expire", None, None, 60.0, 90.0) in changes


def test_pieces_are_changed_and_comments_stay() -> None:
    """An entry is added, changed, taken out; a key that becomes None goes; a section is set and taken out."""
    text = published.of_file(FILE)
    text = published.put_entry(text, "queues", "support", {"wrap_up": 5.0, "teams": None})
    text = published.put_entry(text, "queues", None, {"id": "more", "title": "More"})
    text = published.take_entry(text, "numbers", "+15550100200")
    text = published.put_section(text, "sms.expire", 5.0)
    text = published.put_section(text, "dispositions", ["Done"])
    text = published.put_section(text, "brand", None)
    document = read_document(text)
    assert document["queues"] == [
        {"id": "support", "wrap_up": 5.0},
        {"id": "chats", "channel": "sms"},
        {"id": "more", "title": "More"},
    ]
    assert (document["numbers"], document["sms"], document["dispositions"]) == ([], {"expire": 5.0}, ["Done"])
    assert "brand" not in document
    assert "# the first" in text
    assert published.put_section(text, "sms.expire", None).count("expire") == 0
    with pytest.raises(LookupError):
        published.take_entry(text, "queues", "gone")
    with pytest.raises(LookupError):
        published.put_entry(text, "presets", "gone", {})


@given(st.text(alphabet=st.sampled_from("ab:-[]{}#&*!|>'\"% \n0,"), max_size=60))
def test_no_text_breaks_the_check(text: str) -> None:
    """Whatever is typed is settings or has problems with a place."""
    with suppress(DocumentError):
        assert isinstance(published.check(text, Settings()), Settings)


def test_every_setting_is_published_or_not_on_purpose() -> None:
    """What can be published is there."""
    assert set(published.WHOLE) | set(published.PARTS) <= set(Settings.model_fields)
    assert set(published.PARTS["sms"]) <= set(type(Settings().sms).model_fields)
