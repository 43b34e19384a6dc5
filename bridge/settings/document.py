"""A document of settings: read, and what is wrong with it at its line and column."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_settings import SettingsError as UnreadableEnvironmentError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from bridge.settings.whole import Settings


class SettingsError(Exception):
    """The settings cannot be used. The message names file, line, key and remedy, one problem a line."""


class Problem(NamedTuple):
    """What is wrong with a document, and where."""

    line: int
    """From 1; also `column`."""
    column: int
    key: str
    """As `queues.0.ring_timeout`; empty for the whole."""
    what: str

    def at(self, document: object) -> str:
        """In one line, beginning with where *document* is, as compilers write it."""
        return f"{document}:{self.line}:{self.column}: {self.key + ': ' if self.key else ''}{self.what}"


class DocumentError(Exception):
    """A document of settings cannot be used.

    Args:
        problems: All of them.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(problem.at("settings") for problem in problems))
        self.problems = tuple(problems)


def load_settings(path: Path) -> Settings:
    """Read *path* (YAML 1.2) and the environment.

    Raises:
        SettingsError: With every problem, its line and what is allowed there.
    """
    try:
        document = read_document(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: no YAML in UTF-8 without control characters") from error
    except DocumentError as error:
        raise SettingsError("\n".join(problem.at(path) for problem in error.problems)) from error
    try:
        return Settings(**document)
    except UnreadableEnvironmentError as error:
        raise SettingsError(f"environment: {error}") from error
    except ValidationError as error:
        raise SettingsError("\n".join(problem.at(path) for problem in explain(document, error))) from error


def read_document(text: str) -> Any:
    """A YAML table that knows its lines and comments; an empty text is an empty table.

    Raises:
        DocumentError: It is none.
    """
    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    try:
        document = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise DocumentError([Problem(line, column, "", str(error.problem))]) from error
    except YAMLError as error:
        raise DocumentError([Problem(1, 1, "", "no YAML in UTF-8 without control characters")]) from error
    if document is None:
        return CommentedMap()
    if not isinstance(document, Mapping):
        raise DocumentError([Problem(1, 1, "", "the file must be a table of sections")])
    return document


_NAMED = re.compile(r"(queue|agent|number) ([^\s:]+)")
"""How what `Settings` says of the whole begins when it is about one entry."""
_LISTS = {"queue": ("queues", "id"), "agent": ("agents", "id"), "number": ("numbers", "number")}


def explain(document: Any, error: ValidationError) -> list[Problem]:
    """Everything that is wrong with *document*, at its line and column."""
    found = []
    for problem in error.errors():
        what = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            what = "there is no such setting; check its spelling and its section"
        keys = problem["loc"]
        if keys:
            found.append(Problem(*_place_of(document, keys), ".".join(str(key) for key in keys), what))
            continue
        for part in what.split("; "):  # what is wrong between sections; the entry it begins with is where to look
            keys = _entry_of(document, part)
            found.append(Problem(*_place_of(document, keys), "", part))
    return found


def _entry_of(document: Any, what: str) -> tuple[str | int, ...]:
    named = _NAMED.match(what)
    if named is None:
        return ()
    section, key = _LISTS[named[1]]
    entries = document.get(section)
    for number, entry in enumerate(entries if isinstance(entries, Sequence) else ()):
        if isinstance(entry, Mapping) and str(entry.get(key)) == named[2]:
            return section, number, key
    return ()


def _place_of(document: Any, keys: Sequence[str | int]) -> tuple[int, int]:
    """Line and column of what stands under *keys*, as far as they lead."""
    node: Any = document
    line, column = 1, 1
    for key in keys:
        try:
            where: Any = node.lc
            row, col = where.value(key) if isinstance(node, Mapping) else where.item(key)
            node = node[key]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
        line, column = row + 1, col + 1
    return line, column
