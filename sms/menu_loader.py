"""From a YAML file to a `Menu`: strict, every fault at once, each with its place and what to do about it.

The file is composed to nodes and no further, so every scalar is the text that stands there. Codes are those of
`docs/text-menus.md`.
"""

import difflib
import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sms.consent import compliance_parts
from sms.keywords import classify, fold
from sms.menu import LONGEST, PLACEHOLDER, UNSURE, VARIABLES, Menu, MenuFacts, Messages, Option, listed
from sms.segments import segment

MENUS = Path(__file__).parent / "menus"
"""The menus that come with the package."""
MAX_SIZE = 1_000_000
"""Bytes of one file."""
MANY = 9
"""Options of one menu that can be told apart by one digit."""
WARNINGS = frozenset({"M024", "M035", "M040", "M041", "M043", "M044"})

NEEDED = ("opt_in", "choose", "not_understood")
"""Messages without which a menu cannot talk."""
FIRST = ("opt_in", "outbound")
"""Messages that are the first text of a conversation, whoever begins it, and must say what the law wants said."""
ON_ARRIVAL = ("greeting", "over_capacity", "after_hours", "unavailable")
"""Messages of which a queue says one, so it should have each."""
ONLY_TOP = frozenset({"opt_in", "bye"})
"""Messages that are said before anything is chosen, or wherever one is."""
OF_MENUS = frozenset({"choose", "below", "chosen", "not_understood"})
"""Messages that a queue never says."""

Where: TypeAlias = tuple[str | int, ...]
Value = TypeVar("Value")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z]{2})?", re.ASCII)
_HEAD = {"menu": True, "version": True, "languages": True, "default": True, "hours": False, "words": False, "messages": True}
_OPTION = ("title", "keywords", "options", "queue", "language", "hidden", "hours", "messages")
_SAMPLES: Mapping[str, str | int] = {
    "name": "Alexandra",
    "agent": "Alexandra",
    "queue": "Customer support",
    "title": "Customer support",
    "ewt_minutes": 25,
    "reopens": "Monday 9:00",
    "minutes": 10,
    "url": "https://text.example.com/u/3Fq7xYb2Lk9w",
}
"""Values of common length, to count what a text will cost."""


class Problem(msgspec.Struct, frozen=True, order=True):
    """Something wrong with a menu file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    code: str
    message: str
    remedy: str

    @property
    def level(self) -> Literal["error", "warning"]:
        """An error keeps the menu from being used."""
        return "warning" if self.code in WARNINGS else "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.code} {self.message}; {self.remedy}"


class MenuErrors(ValueError):  # noqa: N818 - there are several
    """A menu that cannot be used, with everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(problems))
        super().__init__("\n".join(map(str, self.problems)))


def is_menu(source: str) -> bool:
    """Whether a YAML file is a menu by text: `menu` is a key of its top."""
    return re.search(r"^menu\s*:", source, re.MULTILINE) is not None


def load_menu(
    path: Path, *, queues: Collection[str] | None = None, hours: Collection[str] | None = None, brand: str = "Example"
) -> Menu:
    """Read a menu.

    Args:
        path: Its YAML file.
        queues: The queues there are; None: not known, so not checked.
        hours: The tables of opening hours there are; None: as above.
        brand: The name that texts will carry.

    Raises:
        MenuErrors: It cannot be used; every error is in it, warnings are not.
        OSError: The file cannot be read.
    """
    menu, problems = examine_menu(path, queues=queues, hours=hours, brand=brand)
    errors = [problem for problem in problems if problem.level == "error"]
    if menu is None or errors:
        raise MenuErrors(errors)
    return menu


def examine_menu(
    path: Path, *, queues: Collection[str] | None = None, hours: Collection[str] | None = None, brand: str = "Example"
) -> tuple[Menu | None, list[Problem]]:
    """A menu and everything that is wrong with it, in the order of lines; None when it cannot be read at all.

    Arguments are those of `load_menu`.

    Raises:
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    try:
        source = content.decode()
    except UnicodeDecodeError:
        return None, [Problem(str(path), 1, 1, "M001", "the file is not UTF-8", "save it as UTF-8")]
    return parse_menu(source, file=str(path), queues=queues, hours=hours, brand=brand)


def parse_menu(
    source: str,
    *,
    file: str = "menu",
    queues: Collection[str] | None = None,
    hours: Collection[str] | None = None,
    brand: str = "Example",
) -> tuple[Menu | None, list[Problem]]:
    """As `examine_menu`, for the text of a file."""
    document = _Document(file)
    reader = _Reader(document)
    try:
        menu = reader.read(source)
        if menu is not None:
            _Rules(menu, document, brand).all(queues, hours)
    except RecursionError:
        document.problem("M001", (), "nested too deep", "nobody answers that many questions by text: write it flatter")
        menu = None
    return menu, sorted(document.problems)


class _Document:
    """One file: what is wrong with it, and where everything in it stands."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self.marks: dict[Where, tuple[int, int]] = {}

    def mark(self, where: Where, node: Node) -> None:
        self.marks[where] = (node.start_mark.line + 1, node.start_mark.column + 1)

    def problem(self, code: str, where: Where, message: str, remedy: str) -> None:
        """Note a problem with what stands at *where*, or the nearest thing around it."""
        line, column = next((self.marks[where[:end]] for end in range(len(where), -1, -1) if where[:end] in self.marks), (1, 1))
        found = Problem(self.file, line, column, code, message, remedy)
        if found not in self.problems:
            self.problems.append(found)


class _Reader:
    """What the nodes of a file mean. Goes on after a fault with what could be read, so that all faults are found."""

    def __init__(self, document: _Document) -> None:
        self.document = document
        self.problem = document.problem
        self.languages: tuple[str, ...] = ()
        self.default_language = ""

    def read(self, source: str) -> Menu | None:
        root = self._compose(source)
        if root is None:
            return None
        self.document.mark((), root)
        head = self._fields(root, (), _HEAD | {"options": True})
        if not self._read_languages(head.get("languages")):
            return None
        if "version" in head and self._one(head["version"], ("version",)) not in {"1", None}:
            self.problem("M005", ("version",), "only version 1 is known", "write `version: 1`")
        words = self._fields(head["words"], ("words",), {"back": False, "exit": False}) if "words" in head else {}
        top = Option(
            options=self._options(head.get("options"), ("options",)),
            hours=self._name(head.get("hours"), ("hours",)),
            messages=self._messages(head.get("messages"), ("messages",)),
        )
        return Menu(
            name=self._name(head.get("menu"), ("menu",)) or "",
            languages=self.languages,
            default_language=self.default_language,
            default=self._name(head.get("default"), ("default",)) or "",
            top=top,
            back=self._words(words.get("back"), ("words", "back"), "BACK"),
            exit=self._words(words.get("exit"), ("words", "exit"), "EXIT"),
            revision=hashlib.sha256(source.encode()).hexdigest()[:16],
        )

    # YAML

    def _compose(self, source: str) -> MappingNode | None:
        if len(source.encode()) > MAX_SIZE:
            self.problem("M001", (), f"the file is larger than {MAX_SIZE} bytes", "make several menus of it")
            return None
        try:
            node = YAML(typ="safe", pure=True).compose(source)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.document.marks[()] = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            said = (error.problem or error.context or "no YAML").strip()
            self.problem("M001", (), f"no YAML: {said}", "put texts with a colon or a # in quotes, and indent with spaces")
            return None
        except YAMLError as error:
            self.problem("M001", (), f"no YAML: {str(error).splitlines()[0]}", "save it as UTF-8 without control characters")
            return None
        if not isinstance(node, MappingNode):
            self.problem("M001", (), "a menu file is a mapping", "begin with `menu:` and its name")
            return None
        aliased = next(_anchored(node), None)
        if aliased is not None:
            self.document.mark((), aliased)
            self.problem("M001", (), "anchors and aliases are not part of the language", "write it out; messages are inherited")
            return None
        return node

    def _pairs(self, node: Node, where: Where) -> dict[str, Node]:
        """The pairs of a mapping, each key once."""
        if not isinstance(node, MappingNode):
            self.problem("M005", where, "this is written as a mapping", "write `key: value`, one a line")
            return {}
        found: dict[str, Node] = {}
        for key, item in node.value:
            if not isinstance(key, ScalarNode):
                self.document.mark(where, key)
                self.problem("M005", where, "a key is a text", "write a name before the colon")
            elif key.value in found:
                first = self.document.marks[*where, key.value][0]
                self.document.mark((*where, key.value), key)
                self.problem("M002", (*where, key.value), f"{key.value!r} stands here twice", f"the first is in line {first}")
            else:
                found[key.value] = item
                self.document.mark((*where, key.value), key)
        return found

    def _fields(self, node: Node, where: Where, known: Mapping[str, bool]) -> dict[str, Node]:
        """The pairs of a mapping whose keys are given, True for those that are needed."""
        pairs = self._pairs(node, where)
        for name in pairs:
            if name not in known:
                self.problem("M003", (*where, name), f"there is no key {name!r} here", _nearest(name, known))
        for name, needed in known.items():
            if needed and name not in pairs and isinstance(node, MappingNode):
                self.problem("M004", where, f"{name!r} is missing", f"add `{name}:`")
        return {name: item for name, item in pairs.items() if name in known}

    def _one(self, node: Node, where: Where) -> str | None:
        if isinstance(node, ScalarNode) and node.value.strip():
            return str(node.value)
        self.problem("M005", where, "a text belongs here", "write it behind the colon")
        return None

    def _items(self, node: Node, where: Where) -> list[Node]:
        if isinstance(node, SequenceNode) and node.value:
            for index, item in enumerate(node.value):
                self.document.mark((*where, index), item)
            return list(node.value)
        self.problem("M005", where, "a list belongs here", "write [one, two] or one `- item` per line")
        return []

    def _name(self, node: Node | None, where: Where) -> str | None:
        name = None if node is None else self._one(node, where)
        if name is not None and _NAME.fullmatch(name) is None:
            self.problem("M005", where, f"{name!r} is no name", "a name has small letters, digits, _ and -, a letter first")
        return name

    # Values

    def _read_languages(self, node: Node | None) -> bool:
        if node is None:
            return False
        where: Where = ("languages",)
        fields = self._fields(node, where, {"default": True, "available": True})
        if fields.keys() != {"default", "available"}:
            return False
        place = (*where, "available")
        found: dict[str, None] = {}
        for index, item in enumerate(self._items(fields["available"], place)):
            language = self._one(item, (*place, index))
            if language is not None and _LANGUAGE.fullmatch(language) is None:
                self.problem("M005", (*place, index), f"{language!r} is no language", "a language is written en, fr, pt-BR")
            elif language is not None:
                found[language] = None
        self.languages = tuple(found)
        self.default_language = self._one(fields["default"], (*where, "default")) or ""
        if self.default_language and self.default_language not in self.languages:
            known = _nearest(self.default_language, self.languages)
            self.problem("M011", (*where, "default"), f"{self.default_language!r} is not available", known)
            return False
        return bool(self.languages and self.default_language)

    def _each(self, node: Node, where: Where, read: Callable[[Node, Where], Value | None], *, complete: bool) -> dict[str, Value]:
        """A value in each language; in a menu of one language it may stand alone.

        Args:
            node: What is read.
            where: Where it stands.
            read: Reads one value.
            complete: It has to be there in every language.
        """
        if not isinstance(node, MappingNode) and len(self.languages) == 1:
            only = read(node, where)
            return {} if only is None else {self.default_language: only}
        pairs = self._pairs(node, where)
        for language in pairs.keys() - set(self.languages):
            self.problem("M011", (*where, language), f"{language!r} is not available", _nearest(language, self.languages))
        missing = [language for language in self.languages if language not in pairs]
        if complete and missing and isinstance(node, MappingNode):
            self.problem("M010", where, f"this is not said in {', '.join(missing)}", f"add `{missing[0]}:`")
        values = {name: read(pairs[name], (*where, name)) for name in self.languages if name in pairs}
        return {name: value for name, value in values.items() if value is not None}

    def _list(self, node: Node, where: Where) -> tuple[str, ...] | None:
        found = [self._one(item, (*where, index)) for index, item in enumerate(self._items(node, where))]
        return tuple(text for text in found if text is not None) or None

    def _variants(self, node: Node, where: Where) -> tuple[str, ...] | None:
        if isinstance(node, SequenceNode):
            return self._list(node, where)
        text = self._one(node, where)
        return None if text is None else (text,)

    def _words(self, node: Node | None, where: Where, otherwise: str) -> dict[str, tuple[str, ...]]:
        if node is None:
            return dict.fromkeys(self.languages, (otherwise,))
        return self._each(node, where, self._list, complete=True)

    def _messages(self, node: Node | None, where: Where) -> Messages:
        pairs = {} if node is None else self._pairs(node, where)
        for key in pairs:
            if key not in VARIABLES:
                self.problem("M020", (*where, key), f"there is no message {key!r}", _nearest(key, VARIABLES))
        return {
            key: self._each(item, (*where, key), self._variants, complete=True) for key, item in pairs.items() if key in VARIABLES
        }

    def _options(self, node: Node | None, where: Where) -> tuple[Option, ...]:
        if node is None:
            return ()
        return tuple(self._option(item, (*where, index)) for index, item in enumerate(self._items(node, where)))

    def _option(self, node: Node, where: Where) -> Option:
        fields = self._fields(node, where, {name: name == "title" for name in _OPTION})
        leads = [name for name in ("options", "queue", "language") if name in fields]
        if len(leads) != 1 and isinstance(node, MappingNode):
            said = " and ".join(leads) or "nothing"
            self.problem("M013", where, f"this option leads to {said}", "give it one of `options`, `queue` and `language`")
        hidden = self._one(fields["hidden"], (*where, "hidden")) if "hidden" in fields else "false"
        if hidden not in {"true", "false", None}:
            self.problem("M005", (*where, "hidden"), f"{hidden!r} is neither true nor false", "write true or false")
        language = self._one(fields["language"], (*where, "language")) if "language" in fields else None
        if language is not None and language not in self.languages:
            self.problem("M011", (*where, "language"), f"{language!r} is not available", _nearest(language, self.languages))
        title, keywords = fields.get("title"), fields.get("keywords")
        return Option(
            title={} if title is None else self._each(title, (*where, "title"), self._one, complete=True),
            keywords={} if keywords is None else self._each(keywords, (*where, "keywords"), self._list, complete=False),
            options=self._options(fields.get("options"), (*where, "options")),
            queue=self._name(fields.get("queue"), (*where, "queue")),
            language=language,
            hidden=hidden == "true",
            hours=self._name(fields.get("hours"), (*where, "hours")),
            messages=self._messages(fields.get("messages"), (*where, "messages")),
        )


class _Rules:
    """What can be wrong with a menu that could be read."""

    def __init__(self, menu: Menu, document: _Document, brand: str) -> None:
        self.menu = menu
        self.problem = document.problem
        self.brand = brand

    def all(self, queues: Collection[str] | None, hours: Collection[str] | None) -> None:
        """Note everything that is wrong."""
        self._needed()
        for path, option in self.menu.walk():
            where = _where(path)
            self._names(option, where, queues, hours)
            self._messages(option, path, where)
            if option.options:
                self._listing(option, path, where)
        if queues is not None and self.menu.default and self.menu.default not in queues:
            self.problem("M014", ("default",), f"there is no queue {self.menu.default!r}", _nearest(self.menu.default, queues))
        self._spellings()
        self._hours_agree()

    def _needed(self) -> None:
        for key in NEEDED:
            if key not in self.menu.top.messages:
                self.problem("M004", ("messages",), f"the message {key!r} is missing", f"add `{key}:` to the messages of the top")

    def _lawful(self, text: str, where: Where) -> None:
        filled = PLACEHOLDER.sub(lambda match: self.brand if match[1] == "brand" else "", text)
        parts = compliance_parts(filled, brand=self.brand)
        if parts:
            remedy = ", ".join(_PART_REMEDY[part] for part in parts)
            self.problem("M023", where, f"the first text does not say: {', '.join(parts)}", remedy)

    def _names(self, option: Option, where: Where, queues: Collection[str] | None, hours: Collection[str] | None) -> None:
        if option.queue is not None and queues is not None and option.queue not in queues:
            self.problem("M014", (*where, "queue"), f"there is no queue {option.queue!r}", _nearest(option.queue, queues))
        if option.hours is not None and hours is not None and option.hours not in hours:
            self.problem("M015", (*where, "hours"), f"there are no hours {option.hours!r}", _nearest(option.hours, hours))

    # Messages

    def _messages(self, option: Option, path: tuple[int, ...], where: Where) -> None:
        for key, languages in option.messages.items():
            place = (*where, "messages", key)
            if path and key in ONLY_TOP:
                self.problem("M025", place, f"{key!r} is never said from here", "move it to the messages of the top")
            elif path and not option.options and (option.queue is None or key in OF_MENUS):
                self.problem("M025", place, f"{key!r} is never said from here", "move it to a menu above, or take it out")
            for language, variants in languages.items():
                self._variants(key, variants, (*place, language))
                for text in variants if key in FIRST else ():
                    self._lawful(text, (*place, language))
        if option.queue is not None:
            chain = self.menu.chain(path)
            for key in ON_ARRIVAL:
                if not any(key in each.messages for each in chain):
                    said = f"a customer who comes to {option.queue!r} may be told nothing: {key!r} is missing"
                    self.problem("M024", ("messages",), said, f"add `{key}:` to the messages of the top")

    def _variants(self, key: str, variants: tuple[str, ...], where: Where) -> None:
        certain = None
        for number, text in enumerate(variants, 1):
            names = PLACEHOLDER.findall(text)
            filled = PLACEHOLDER.sub(lambda match: str({**_SAMPLES, "brand": self.brand}.get(match[1], "")), text)
            self._count(filled, where, "say it in fewer words")
            for name in names:
                if name not in VARIABLES[key]:
                    known = _nearest(name, VARIABLES[key])
                    self.problem("M021", where, f"{key!r} knows no {{{name}}}", known)
            if odd := re.search(r"\{(?![a-z_]+\})[^}]*\}?|\}", PLACEHOLDER.sub("", text)):
                self.problem("M021", where, f"{odd[0]!r} is no variable", "write {brand}, and no braces for anything else")
            if certain is not None:
                self.problem("M022", where, f"variant {number} is never said", f"variant {certain} always fits: put it last")
            elif UNSURE.isdisjoint(names):
                certain = number
        if certain is None:
            name = next(name for name in PLACEHOLDER.findall(variants[-1]) if name in UNSURE)
            remedy = "write a list of variants whose last has only what is always known"
            self.problem("M022", where, f"nothing can be said while {{{name}}} is not known", remedy)

    def _count(self, text: str, where: Where, remedy: str) -> None:
        cost = segment(text)
        if cost.segments > LONGEST:
            why = f", because of {' '.join(cost.forced_by[:8])}" if cost.forced_by else ""
            said = f"this takes {cost.segments} segments of {cost.encoding.upper()}{why}"
            self.problem("M041", where, said, remedy)

    # Options

    def _listing(self, option: Option, path: tuple[int, ...], where: Where) -> None:
        place = (*where, "options")
        shown = max((listed(option, language) for language in self.menu.languages), key=len)
        if not shown:
            self.problem("M042", place, "nothing can be chosen: every option is hidden", "take `hidden` off one of them")
        elif len(shown) == 1 and path:
            self.problem("M043", place, "there is only one thing to choose", "put it one menu up")
        if len(shown) > MANY:
            said = f"{len(shown)} options are more than one digit can tell apart"
            self.problem("M040", place, said, "make a menu of some of them, or hide what only keywords need")
        for language in self.menu.languages:
            titles: dict[str, int] = {}
            for index, each in enumerate(option.options):
                title = fold(each.title.get(language, ""))
                here = (*place, index, "title", language)
                if title and titles.setdefault(title, index) != index:
                    said = f"option {titles[title] + 1} has this title, too"
                    self.problem("M033", here, said, "give them different titles")
            listing = self.menu.listing(path, language, MenuFacts(self.brand, {}))
            self._count(listing, place, "use shorter titles, or a menu below")

    # Words that customers write

    def _spellings(self) -> None:
        """Nobody may be sent where they did not want to go: every word means one thing."""
        ours = self._commands()
        taken = self._keywords(ours)
        for path, option in self.menu.walk():
            for language, title in option.title.items():
                where: Where = (*_where(path), "title", language)
                self._word(title, where, ours)
                other = taken.get(fold(title), path)
                if other != path:
                    said = f"{title!r} is a keyword of option {_dotted(other)}"
                    self.problem("M034", where, said, "whoever writes it would come there: use another title or keyword")
                if classify(title).suspicious:
                    said = f"{title!r} sounds like a wish to be left alone"
                    self.problem("M035", where, said, "whoever writes it would get no more texts until an agent has looked")

    def _commands(self) -> dict[str, str]:
        """The menu's own command words, folded, and which command each is."""
        ours: dict[str, str] = {}
        for name, words in (("back", self.menu.back), ("exit", self.menu.exit)):
            for language, spellings in words.items():
                for word in spellings:
                    self._protected(word, ("words", name, language))
                    if ours.setdefault(fold(word), name) != name:
                        self.problem("M032", ("words", name, language), f"{word!r} means back, too", "use different words")
        return ours

    def _keywords(self, ours: Mapping[str, str]) -> dict[str, tuple[int, ...]]:
        """The keywords, folded, and the option each leads to."""
        taken: dict[str, tuple[int, ...]] = {}
        for path, option in self.menu.walk():
            for language, words in option.keywords.items():
                for word in words:
                    where: Where = (*_where(path), "keywords", language)
                    self._word(word, where, ours)
                    other = taken.setdefault(fold(word), path)
                    if other != path:
                        said = f"the keyword {word!r} leads to option {_dotted(other)} already"
                        self.problem("M032", where, said, "a keyword leads to one place")
        return taken

    def _word(self, word: str, where: Where, ours: Mapping[str, str]) -> None:
        self._protected(word, where)
        if fold(word) in ours:
            said = f"{word!r} is the word for {ours[fold(word)]}"
            self.problem("M030", where, said, "use another word, here or under `words`")

    def _protected(self, word: str, where: Where) -> None:
        keyword = classify(word).keyword
        if keyword is not None:
            said = f"{word!r} always means {keyword.upper()}"
            self.problem("M030", where, said, "use another word: whoever writes this one would never come here")
        elif not fold(word):
            self.problem("M031", where, f"{word!r} has no letter that could be recognised", "use letters")
        elif fold(word).isdecimal():
            self.problem("M031", where, f"{word!r} would be taken for the number of an option", "use a word")

    def _hours_agree(self) -> None:
        first = self.menu.queues()
        for path, option in self.menu.walk():
            if option.queue is not None and self.menu.hours_of(path) != first[option.queue]:
                said = f"{option.queue!r} has other hours where it is chosen first"
                self.problem("M044", (*_where(path), "queue"), said, "those are the ones that count: give both the same")


_PART_REMEDY = {
    "brand": "name the {brand}",
    "recurring": "say how often texts come (recurring messages)",
    "rates": "say that msg & data rates may apply",
    "stop": "say how to stop (Reply STOP to opt out)",
}


def _where(path: tuple[int, ...]) -> Where:
    return tuple(part for index in path for part in ("options", index))


def _dotted(path: tuple[int, ...]) -> str:
    """An option's place for people: 2.1 is the first below the second."""
    return ".".join(str(index + 1) for index in path)


def _nearest(word: str, words: Iterable[str]) -> str:
    """What to do about a name that does not exist: the one that may have been meant, or all there are."""
    known = sorted(words)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known) or 'none'}"


def _anchored(node: Node) -> Iterator[Node]:
    """Nodes that carry an anchor; only those can be met twice, so the walk ends."""
    if node.anchor:
        yield node
    elif isinstance(node, SequenceNode | MappingNode):
        for part in node.value:
            for item in part if isinstance(part, tuple) else (part,):
                yield from _anchored(item)
