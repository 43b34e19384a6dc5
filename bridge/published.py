"""The settings of the house: the part that is published from a draft and holds at once, without a restart.

The file has everything at first. Once something has been published, the newest revision says all there is to say of these
sections, and the file is only read for the others; the environment still wins over both.
"""

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec
from pydantic import ValidationError
from pydantic_settings import SettingsError as UnreadableEnvironmentError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from bridge.settings import DocumentError, Problem, Settings, explain, read_document

WHOLE = (
    "brand",
    "country",
    "not_ready_reasons",
    "dispositions",
    "queues",
    "agents",
    "numbers",
    "hours",
    "presets",
    "routing",
    "target",
    "desk",
    "alerts",
    "reports",
)
"""Sections that are published as they are."""
PARTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sms": (
            "menu_timeout",
            "expire",
            "warn_before",
            "dismiss_after",
            "reopen_window",
            "prefer_for",
            "transfer_ring",
            "max_transfers",
            "unassigned",
            "sessionless_reply",
            "blocked",
            "reply_window",
            "open_window",
            "chat_idle_timeout",
        )
    }
)
"""Sections of which the rest stays in the file: it needs a restart, or is about money and machines."""
SECRET = "password_hash"  # noqa: S105  the name of a key
"""Is never published: a revision is read by many and kept for ever."""
NAMED_BY: Mapping[str, str] = MappingProxyType(
    {"queues": "id", "agents": "id", "numbers": "number", "presets": "id", "alerts": "name"}
)
"""Lists of entries, and the key that tells one from another."""
MOST = 1_000_000
"""Characters of a document."""
Kind: TypeAlias = Literal["added", "removed", "changed"]


class Change(msgspec.Struct, frozen=True):
    """One difference between two documents."""

    kind: Kind
    section: str
    """As `queues`; with the key, where only a part is published: `sms.expire`."""
    entry: str | None
    """Which of several, as `support`; None for a section that is one."""
    key: str | None
    """What of it, as `offers.threshold`; None for the whole entry."""
    before: Any = None
    """Plain values; None also where there was none."""
    after: Any = None


def check(text: str, base: Settings) -> Settings:
    """The settings that hold when *text* is published over the file's settings *base*.

    Raises:
        DocumentError: It cannot be; with every problem at its line and column in *text*.
    """
    if len(text) > MOST:
        raise DocumentError([Problem(1, 1, "", f"longer than {MOST} characters")])
    document = read_document(text)
    if problems := [*_strange(document), *_secrets(document)]:
        raise DocumentError(problems)
    merged = base.model_dump(exclude_unset=True, exclude=set(WHOLE))
    for section, keys in PARTS.items():
        rest = {key: value for key, value in merged.get(section, {}).items() if key not in keys}
        own = document.get(section, {})
        merged[section] = {**rest, **own} if isinstance(own, Mapping) else own
    merged |= {section: document[section] for section in WHOLE if section in document}
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        raise DocumentError(explain(document, error)) from error
    except UnreadableEnvironmentError as error:
        raise DocumentError([Problem(1, 1, "", f"environment: {error}")]) from error
    return with_passwords(settings, base)


def with_passwords(settings: Settings, base: Settings) -> Settings:
    """The same, with the passwords that the file has for these people."""
    known = {agent.id: agent.password_hash for agent in base.agents}
    agents = tuple(agent.model_copy(update={SECRET: known.get(agent.id)}) for agent in settings.agents)
    return settings.model_copy(update={"agents": agents})


def _strange(document: Mapping[str, Any]) -> Iterator[Problem]:
    for section, value in document.items():
        if section not in WHOLE and section not in PARTS:
            yield _problem(document, (section,), "is not published: it stands in the settings file")
        elif section in PARTS and isinstance(value, Mapping):
            for key in value:
                if key not in PARTS[section]:
                    yield _problem(value, (key,), "is not published: it stands in the settings file", f"{section}.{key}")


def _secrets(document: Mapping[str, Any]) -> Iterator[Problem]:
    agents = document.get("agents")
    for number, agent in enumerate(agents if isinstance(agents, Sequence) else ()):
        if isinstance(agent, Mapping) and SECRET in agent:
            yield _problem(
                agent, (SECRET,), "passwords are not published; they are set under People", f"agents.{number}.{SECRET}"
            )


def _problem(node: Any, keys: tuple[str], what: str, key: str | None = None) -> Problem:
    line, column = node.lc.key(keys[0])
    return Problem(line + 1, column + 1, key or keys[0], what)


# --- texts -----------------------------------------------------------------------------------------------------------


def written(settings: Settings) -> str:
    """What can be published of *settings*, as a document: everything that is not as it would be anyway."""
    plain = settings.model_dump(mode="json", exclude_unset=True, include={*WHOLE, *PARTS})
    for agent in plain.get("agents", ()):
        agent.pop(SECRET, None)
        # Teams bring their queues by themselves, and have to be able to take them away again.
        brought = {queue.id for queue in settings.queues if not set(queue.teams).isdisjoint(agent.get("teams", ()))}
        own = [queue for queue in agent.pop("queues", ()) if queue not in brought]
        if own:
            agent["queues"] = own
    document = CommentedMap()
    for section in (*WHOLE, *PARTS):
        if section in PARTS:
            part = {key: value for key, value in plain.get(section, {}).items() if key in PARTS[section]}
            if part:
                document[section] = part
        elif section in plain:
            document[section] = plain[section]
    return as_text(document)


def of_file(text: str) -> str:
    """What can be published of a settings file, with its comments, and without its secrets.

    Raises:
        DocumentError: It is no settings file.
    """
    document = read_document(text)
    for section in list(document):
        if section in PARTS and isinstance(document[section], Mapping):
            for key in [key for key in document[section] if key not in PARTS[section]]:
                del document[section][key]
        if section not in WHOLE and not (section in PARTS and document[section]):
            del document[section]
    agents = document.get("agents")
    for agent in agents if isinstance(agents, Sequence) else ():
        if isinstance(agent, CommentedMap):
            agent.pop(SECRET, None)
    return as_text(document)


def as_text(document: Any) -> str:
    """A document as YAML; comments and quotes stay as they were read."""
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = 130
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = StringIO()
    yaml.dump(document, out)
    text = out.getvalue()
    return "" if text.strip() == "{}" else text


# --- changes of a document, one thing at a time ----------------------------------------------------------------------


def put_entry(text: str, section: str, name: str | None, entry: Mapping[str, Any]) -> str:
    """The document with an entry of a list changed, or (*name* None) added.

    Comments stay, and so do keys that are not in *entry*; those whose value is None are taken out.

    Raises:
        DocumentError: *text* is no table.
        LookupError: There is no such entry.
    """
    document = read_document(text)
    entries = document.setdefault(section, CommentedSeq())
    if name is None:
        there = CommentedMap()
        entries.append(there)
    else:
        there = entries[_index(entries, section, name)]
    for key, value in entry.items():
        if value is None:
            there.pop(key, None)
        elif there.get(key) != value:
            there[key] = value
    return as_text(document)


def take_entry(text: str, section: str, name: str) -> str:
    """The document without an entry of a list.

    Raises:
        DocumentError: *text* is no table.
        LookupError: There is no such entry.
    """
    document = read_document(text)
    entries = document.get(section, [])
    del entries[_index(entries, section, name)]
    return as_text(document)


def put_section(text: str, section: str, value: Any) -> str:
    """The document with a section (or `section.key`) set; None takes it out.

    Raises:
        DocumentError: *text* is no table.
    """
    document = read_document(text)
    outer, _, key = section.partition(".")
    node = document.setdefault(outer, CommentedMap()) if key else document
    if value is not None:
        node[key or outer] = value
        return as_text(document)
    node.pop(key or outer, None)
    if key and not node:
        del document[outer]
    return as_text(document)


def _index(entries: Sequence[Any], section: str, name: str) -> int:
    key = NAMED_BY[section]
    for number, each in enumerate(entries):
        if isinstance(each, Mapping) and str(each.get(key)) == name:
            return number
    raise LookupError(name)


# --- differences -----------------------------------------------------------------------------------------------------


def differences(before: Settings, after: Settings) -> tuple[Change, ...]:
    """What is not the same in two settings of a house."""
    old, new = _house(before), _house(after)
    return tuple(change for section in new for change in _section(section, old[section], new[section]))


def _house(settings: Settings) -> dict[str, Any]:
    plain = settings.model_dump(mode="json", include={*WHOLE, *PARTS})
    for agent in plain["agents"]:
        del agent[SECRET]
    parts = {f"{section}.{key}": plain[section][key] for section, keys in PARTS.items() for key in keys}
    return {section: plain[section] for section in WHOLE} | parts


def _section(section: str, old: Any, new: Any) -> Iterator[Change]:
    if section in NAMED_BY or section == "hours":
        key = NAMED_BY.get(section)
        olds, news = (each if key is None else {entry[key]: entry for entry in each} for each in (old, new))
        for name in dict.fromkeys((*olds, *news)):
            if name not in news:
                yield Change("removed", section, name, None, before=olds[name])
            elif name not in olds:
                yield Change("added", section, name, None, after=news[name])
            else:
                yield from _values(section, name, "", olds[name], news[name])
        kept = [[name for name in each if name in olds and name in news] for each in (olds, news)]
        if kept[0] != kept[1]:
            yield Change("changed", section, None, "order", before=kept[0], after=kept[1])
    else:
        yield from _values(section, None, "", old, new)


def _values(section: str, entry: str | None, key: str, old: Any, new: Any) -> Iterator[Change]:
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            yield from _values(section, entry, f"{key}.{name}" if key else name, old.get(name), new.get(name))
        return
    yield Change("changed", section, entry, key or None, before=old, after=new)
