"""YAML to the structs of `model`: strict, every fault at once, each with its place and what to do about it.

The file is composed to nodes and no further, so every scalar is the text that stands there: `010`, `17:30`, `+15550100200`
and `no` stay what they are, and the types of `model` say what they mean.
"""

import difflib
import re
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ivr_flows.expressions import FACT_NAMES, Expression, ExpressionError, parse_duration
from ivr_flows.shapes import Part, Path, Shape, choices, is_part, marker, shapes

MAX_SIZE = 1_000_000
"""Bytes of one file."""

WARNINGS = frozenset({"F011", "F023", "F031", "F033", "F050", "F051", "F052", "F053", "F054"})


class Problem(Struct, frozen=True, order=True):
    """Something wrong with a file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    code: str
    message: str
    remedy: str

    @property
    def level(self) -> Literal["error", "warning"]:
        """An error keeps the flow from being used."""
        return "warning" if self.code in WARNINGS else "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.code} {self.message}; {self.remedy}"


class _UnreadableError(Exception):
    """A value that could not be read; its problem has been noted."""


def nearest(word: str, words: Iterable[str]) -> str:
    """What to do about a name that does not exist: the one that may have been meant, or all there are."""
    known = sorted(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"


class Document:
    """One file: what is wrong with it, and where everything in it stands."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.marks: dict[Path, tuple[int, int]] = {}

    def problem(self, code: str, path: Path, message: str, remedy: str) -> None:
        """Note a problem with what stands at *path*, or the nearest thing around it."""
        line, column = next((self.marks[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.marks), (1, 1))
        found = Problem(self.file, line, column, code, message, remedy)
        if found not in self.problems:
            self.problems.append(found)

    def read(self, kind: type[Part], source: str) -> Any:
        """*source* as a *kind*; None when that is not possible (then there are problems)."""
        node = self._compose(source)
        if node is None:
            return None
        try:
            return self._value(kind, node, ())
        except _UnreadableError:
            return None

    # YAML

    def _compose(self, source: str) -> Node | None:
        if len(source.encode()) > MAX_SIZE:
            self.problem("F001", (), f"the file is larger than {MAX_SIZE} bytes", "split it")
            return None
        try:
            node = YAML(typ="safe", pure=True).compose(source)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.marks[()] = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            said = (error.problem or error.context or "no YAML").strip()
            self.problem("F001", (), f"no YAML: {said}", 'write * and # as "*" and "#", and indent with spaces')
            return None
        except RecursionError:
            self.problem("F001", (), "nested too deep", "write it flat")
            return None
        except YAMLError as error:
            self.problem("F001", (), f"no YAML: {str(error).splitlines()[0]}", "save it as UTF-8 without control characters")
            return None
        if node is None:
            self.problem("F001", (), "the file is empty", "begin with `flow:`")
        elif aliased := next(_anchored(node), None):
            self._mark((), aliased)
            self.problem("F001", (), "anchors and aliases are not part of the language", "write it out, or make it a state")
            return None
        return typing.cast("Node | None", node)

    def _mark(self, path: Path, node: Node) -> None:
        self.marks[path] = (node.start_mark.line + 1, node.start_mark.column + 1)

    # values

    def _bad(self, code: str, path: Path, message: str, remedy: str) -> _UnreadableError:
        self.problem(code, path, message, remedy)
        return _UnreadableError()

    def _value(self, hint: Any, node: Node, path: Path) -> Any:
        """*node* as a value of type *hint*."""
        self.marks.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        options = choices(hint)
        if all(is_part(option) and option.NAME for option in options):
            return self._step({option.NAME: option for option in options}, node, path)
        kind = options[0]
        if is_part(kind):
            return self._part(kind, node, path)
        origin = typing.get_origin(kind)
        if origin is tuple:
            return self._list(typing.get_args(kind)[0], node, path)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return self._mapping(kind, node, path)
        return self._scalar(kind, node, path)

    def _step(self, kinds: Mapping[str, type[Part]], node: Node, path: Path) -> Any:
        """`{name: fields}`, or `name` alone."""
        inner: Node | None
        if isinstance(node, ScalarNode):
            name, inner = node.value, None
        elif isinstance(node, MappingNode) and len(node.value) == 1 and isinstance(node.value[0][0], ScalarNode):
            name, inner = node.value[0][0].value, node.value[0][1]
        else:
            raise self._bad("F005", path, "a step has one key: what is to be done", "write each step as its own `- item`")
        if name not in kinds:
            raise self._bad("F003", path, f"there is no step {name!r} here", nearest(name, kinds))
        line = {"line": node.start_mark.line + 1} if "line" in kinds[name].__struct_fields__ else {}
        return self._part(kinds[name], inner, (*path, name), **line)

    def _part(self, kind: type[Part], node: Node | None, path: Path, **given: object) -> Any:
        fields = {shape.name: shape for shape in shapes(kind)}
        values: dict[str, Any] = dict(given)
        sound = True
        for name, item, where in self._written(kind, fields, node, path):
            if name not in fields:
                self.problem("F003", where, f"there is no key {name!r} here", nearest(name, fields))
                sound = False
                continue
            shape = fields[name]
            try:
                values[shape.attribute] = self._value(shape.hint, item, path if name == kind.WHOLE else where)
            except _UnreadableError:
                values[shape.attribute], sound = None, False
        for shape in fields.values():
            if shape.required and shape.attribute not in values:
                self.problem("F004", path, f"{shape.name!r} is missing", f"add `{shape.name}:`")
                sound = False
        if not sound:
            raise _UnreadableError
        return kind(**values)

    def _written(
        self, kind: type[Part], fields: Mapping[str, Shape], node: Node | None, path: Path
    ) -> Iterator[tuple[str, Node, Path]]:
        if node is None or (isinstance(node, ScalarNode) and node.value == "" and node.style is None):
            return
        if kind.WHOLE:
            yield kind.WHOLE, node, path
        elif isinstance(node, MappingNode):
            yield from self._pairs(node, path)
        elif kind.SHORT and isinstance(node, ScalarNode):
            yield kind.SHORT, node, (*path, kind.SHORT)
        else:
            raise self._bad("F005", path, "this is written as a mapping", f"its keys are {', '.join(fields)}")

    def _pairs(self, node: MappingNode, path: Path) -> Iterator[tuple[str, Node, Path]]:
        seen: set[str] = set()
        for key, item in node.value:
            if not isinstance(key, ScalarNode):
                self._mark(path, key)
                raise self._bad("F005", path, "a key is a text", "write a name before the colon")
            where = (*path, key.value)
            if key.value in seen:
                first = self.marks.pop(where)
                self._mark(where, key)
                self.problem("F002", where, f"{key.value!r} stands here twice", f"the first is in line {first[0]}: remove one")
                continue
            seen.add(key.value)
            self._mark(where, key)
            yield key.value, item, where

    def _list(self, hint: Any, node: Node, path: Path) -> tuple[Any, ...]:
        if not isinstance(node, SequenceNode):
            raise self._bad("F005", path, "this is written as a list", "write [one, two] or one `- item` per line")
        found, sound = [], True
        for index, item in enumerate(node.value):
            try:
                found.append(self._value(hint, item, (*path, index)))
            except _UnreadableError:
                sound = False
        if not sound:
            raise _UnreadableError
        return tuple(found)

    def _mapping(self, hint: Any, node: Node, path: Path) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            raise self._bad("F005", path, "this is written as a mapping", "write {key: value}")
        key_hint, item_hint = typing.get_args(hint)
        found, sound = {}, True
        for key, item, where in self._pairs(node, path):
            try:
                found[self._text(key_hint, key, where, quoted=True)] = self._value(item_hint, item, where)
            except _UnreadableError:
                sound = False
        if not sound:
            raise _UnreadableError
        return found

    def _scalar(self, hint: Any, node: Node, path: Path) -> Any:
        if not isinstance(node, ScalarNode):
            raise self._bad("F005", path, "this is one value, not a list or a mapping", "write it behind the colon")
        return self._text(hint, node.value, path, quoted=node.style is not None)

    def _text(self, hint: Any, text: str, path: Path, *, quoted: bool) -> Any:
        if hint is Expression:
            try:
                return Expression.parse(text)
            except ExpressionError as error:
                raise self._bad("F005", path, f"{text!r}: {error}", f"look at character {error.at + 1}") from None
        if typing.get_origin(hint) is Literal:
            allowed = typing.get_args(hint)
            if text in allowed:
                return text
            raise self._bad("F005", path, f"{text!r} is not possible here", nearest(text, allowed))
        if hint is bool:
            if text in {"true", "false"}:
                return text == "true"
            raise self._bad("F005", path, f"{text!r} is neither true nor false", "write true or false")
        kind = marker(hint)
        if not quoted and kind == "number":
            raise self._bad("F006", path, f"{text} needs quotes: elsewhere it would lose its plus", f'write "{text}"')
        if kind in _KINDS:
            read, remedy = _KINDS[kind]
            try:
                return read(text)
            except ValueError:
                raise self._bad("F005", path, f"{text!r} is not possible here", remedy) from None
        return text


def _anchored(node: Node) -> Iterator[Node]:
    """Nodes that carry an anchor; only those can be met twice, so the walk ends."""
    if node.anchor:
        yield node
        return
    for part in node.value if isinstance(node, SequenceNode | MappingNode) else ():
        for item in part if isinstance(part, tuple) else (part,):
            yield from _anchored(item)


def _matching(pattern: str) -> Callable[[str], str]:
    compiled = re.compile(pattern, re.ASCII)

    def read(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(text)
        return text

    return read


def _variable(text: str) -> str:
    if text in FACT_NAMES:
        raise ValueError(text)
    return _matching(r"[a-z][a-z0-9_]{0,39}")(text)


_NAME = (_matching(r"[a-z][a-z0-9_-]{0,39}"), "a name has small letters, digits and _, and begins with a letter")
_KINDS: Mapping[str, tuple[Callable[[str], Any], str]] = {
    "state": _NAME,
    "prompt": _NAME,
    "text": _NAME,
    "queue": _NAME,
    "desk": _NAME,
    "hours": _NAME,
    "music": _NAME,
    "variable": (_variable, "a name of small letters, digits and _, that is not the name of a fact"),
    "language": (_matching(r"[a-z]{2,3}(-[A-Z]{2})?"), "a language is written en, fr, pt-BR"),
    "key": (_matching(r"[0-9*#]"), 'a key is "0" to "9", "*" or "#"'),
    "number": (_matching(r"\+[1-9]\d{6,14}"), 'a number is written "+15550100200"'),
    "digits": (_matching(r"[1-9]\d?(-[1-9]\d?)?"), "write 8, or 4-8"),
    "duration": (parse_duration, "a duration is a number with its unit: 5s, 2m, 1h, 1d"),
}
