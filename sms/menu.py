"""Menus by text: who texts a number of ours is asked what it is about, and comes to the queue for it.

Pure: a menu is told what was written and what is known, and says what to answer. `sms.menu_loader` reads one from YAML.
STOP, START and HELP never come this far: whoever asks a menu has looked for them first.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import msgspec

from sms.keywords import fold
from sms.segments import segment

MISSES = 3
"""Texts in a row that are not understood before somebody else has to: then the menu's default queue takes over. It also ends
the conversation of two machines that answer each other."""
LONGEST = 3
"""Segments of one text; what would be longer goes out as several."""

PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

_ANYWHERE = frozenset({"brand", "name"})
_QUEUE = _ANYWHERE | {"queue"}
VARIABLES: Mapping[str, frozenset[str]] = {
    # on the way through the menu
    "opt_in": _ANYWHERE,
    "choose": _ANYWHERE,
    "below": _ANYWHERE,
    "chosen": _ANYWHERE | {"title"},
    "not_understood": _ANYWHERE,
    "bye": _ANYWHERE,
    # on coming to a queue
    "greeting": _QUEUE | {"ewt_minutes"},
    "over_capacity": _QUEUE | {"ewt_minutes"},
    "after_hours": _QUEUE | {"reopens"},
    "unavailable": _QUEUE,
    # later
    "joined": _QUEUE | {"agent"},
    "transferred": _QUEUE | {"ewt_minutes"},
    "returned": _QUEUE,
    "warning": _QUEUE | {"minutes"},
    "timed_out": _QUEUE,
    "expired": _QUEUE,
    "dismissed_reply": _QUEUE,
    "ended": _QUEUE,
    # when we write first, and when we ask for pictures
    "outbound": _ANYWHERE | {"agent"},
    "upload": _ANYWHERE | {"url", "minutes"},
    # of a call that was promised
    "callback_missed": _ANYWHERE,
    "callback_expired": _ANYWHERE,
    "callback_cancelled": _ANYWHERE,
    # the answers that are owed to the command words
    "help": _ANYWHERE,
    "stop": _ANYWHERE,
    "start": _ANYWHERE,
}
"""Every message there is, and what its text may have filled in."""
UNSURE = frozenset({"agent", "name", "ewt_minutes", "reopens"})
"""Variables that are not always known. A text with one of them needs a variant without it."""

Messages: TypeAlias = Mapping[str, Mapping[str, tuple[str, ...]]]
"""Name of the message, language, variants: the first whose variables are all known is said."""


class Option(msgspec.Struct, frozen=True):
    """One thing that can be chosen: a further menu, a queue or a language. The top of a menu is one, too."""

    title: Mapping[str, str] = {}
    """By language."""
    keywords: Mapping[str, tuple[str, ...]] = {}
    """By language; whole messages that lead here from anywhere, the first text included."""
    options: tuple["Option", ...] = ()
    queue: str | None = None
    language: str | None = None
    """Go on in this language, on the menu one is on. Not listed where it is spoken already."""
    hidden: bool = False
    """Not listed. Its keywords lead here all the same, and so does a number that belongs to its queue."""
    hours: str | None = None
    """Name of the opening hours of everything below; None: those of what is above."""
    messages: Messages = {}
    """What is said otherwise here and below."""


class QueueNow(msgspec.Struct, frozen=True):
    """How it stands with a queue."""

    open: bool = True
    reopens: str | None = None
    """When, in words the customer understands; None when it is open or nobody knows."""
    ewt_minutes: int | None = None
    """None when no estimate is honest."""
    staffed: bool = True
    """Somebody is there who may take its chats."""
    over_capacity: bool = False


class MenuFacts(msgspec.Struct, frozen=True):
    """What a menu cannot know by itself."""

    brand: str
    queues: Mapping[str, QueueNow]
    """A queue that is not in here counts as open and staffed, without an estimate."""
    name: str | None = None
    """The customer's."""


class Place(msgspec.Struct, frozen=True):
    """Where in a menu a customer is. Goes through JSON, and outlives a restart and a new version of the menu."""

    path: tuple[int, ...]
    """Position of each option chosen, from the top; hidden ones count."""
    language: str
    misses: int = 0
    """Texts in a row that were not understood."""


class Said(msgspec.Struct, frozen=True):
    """One text to send."""

    key: str
    """Name of the message; of several that go out as one text, the first. `opt_in` always comes first."""
    text: str


class Step(msgspec.Struct, frozen=True):
    """What comes of a customer's text."""

    place: Place | None
    """Where the next text is to be asked about; None when the menu is over."""
    says: tuple[Said, ...]
    queue: str | None
    """The line to stand in now."""
    ended: bool
    """The customer wants to leave."""
    titles: tuple[str, ...]
    """What was chosen, from the top, in the menu's own language, for the agent."""
    language: str
    """To go on in: what the text was written in, or asked for."""
    why: str
    """What the text was taken for, for the timeline."""


class _Found(msgspec.Struct, frozen=True):
    """An option that a text means."""

    path: tuple[int, ...]
    language: str
    why: str


_Parts: TypeAlias = list[tuple[str, str | None]]
"""Messages by name, in order; None where there is nothing to say."""


class Menu(msgspec.Struct, frozen=True):
    """A menu by text, nested to any depth, in several languages."""

    name: str
    languages: tuple[str, ...]
    default_language: str
    default: str
    """The queue for whoever the menu does not understand."""
    top: Option
    back: Mapping[str, tuple[str, ...]]
    """Whole messages that lead one menu up, by language. All are understood in every language."""
    exit: Mapping[str, tuple[str, ...]]
    """Whole messages that end the conversation."""
    revision: str = ""
    """Hash of the file it came of."""

    def enter(self, body: str, *, language: str | None, introduced: bool, facts: MenuFacts, queue: str | None = None) -> Step:
        """Answer the first text.

        A number is no choice yet, since no list has been read; a keyword or a title of the top menu is.

        Args:
            body: The text; empty when there was only a photo.
            language: The customer's, as far as known.
            introduced: The opt-in text has been sent before; otherwise it is the first thing said.
            facts: What is known.
            queue: The number that was texted belongs to this queue, so nothing is asked, and a keyword tells no more than
                the language; None: it belongs to the menu.
        """
        spoken = self._language(language)
        if self.command(body) == "exit":
            return self._leave(spoken, facts)
        words = fold(body)
        found = self._by_keyword(words, spoken) or (self._by_title((), words, spoken) if queue is None else None)
        visible = listed(self.top, spoken)
        if found is None and queue is None and len(visible) == 1 and visible[0][1].queue is not None:
            found = _Found((visible[0][0],), spoken, "there is nothing to choose")
        if found is not None:
            spoken = self._language(self.chain(found.path)[-1].language or found.language)
        lead: _Parts = [] if introduced else [("opt_in", self._text("opt_in", (), spoken, _values(facts)))]
        if queue is not None:
            return self._join(queue, self._place_of(queue), spoken, lead, facts, "the number belongs to the queue")
        if found is not None:
            return self._take(found, (), lead, facts)
        return self._show((), spoken, lead, facts, "the first text")

    def reply(self, place: Place, body: str, facts: MenuFacts) -> Step:
        """Answer a text of a customer who is at *place*: a number, a title, a keyword, BACK or EXIT."""
        path, spoken = self._menu_at(place.path), self._language(place.language)
        match self.command(body):
            case "exit":
                return self._leave(spoken, facts)
            case "back":
                return self._show(path[:-1], spoken, [], facts, "back")
        words = fold(body)
        found = self._by_number(path, words, spoken) or self._by_keyword(words, spoken) or self._by_title(path, words, spoken)
        if found is not None:
            return self._take(found, path, [], facts)
        misses = place.misses + 1
        if misses >= MISSES:
            why = f"{misses} texts not understood"
            return self._join(self.default, self._place_of(self.default), spoken, [], facts, why)
        lead: _Parts = [("not_understood", self._text("not_understood", path, spoken, _values(facts)))]
        return self._show(path, spoken, lead, facts, f"not understood, {misses} of {MISSES}", misses=misses)

    def back_from(self, queue: str, language: str, facts: MenuFacts) -> Step:
        """Show the menu that *queue* is chosen in, for a customer who waits there and writes BACK."""
        return self._show(self._menu_at(self._place_of(queue)), self._language(language), [], facts, "back")

    def arrive(self, queue: str, language: str, facts: MenuFacts) -> tuple[Said, ...]:
        """What is said to a customer who comes to *queue*, from this menu, a call or another queue.

        An estimate is only told by a queue that is open and staffed.
        """
        return _joined([self._arrival(queue, self._place_of(queue), self._language(language), facts)])

    def words(self, key: str, queue: str | None, language: str, **values: str | int | None) -> str | None:
        """A message by its name, as *queue* says it; None when the menu has none, and nothing should be sent.

        Args:
            key: One of `VARIABLES`.
            queue: Where the customer is; None: as the top of the menu says it.
            language: The customer's.
            values: What to fill in, `brand` among them; None: not known. `queue` is filled in by itself.
        """
        spoken = self._language(language)
        path = () if queue is None else self._place_of(queue)
        return self._text(key, path, spoken, self._with_queue(values, path, spoken))

    def command(self, body: str) -> Literal["back", "exit"] | None:
        """Whether *body* is one of the menu's own command words, in any of its languages. They hold in a queue as well."""
        words = fold(body)
        if any(words == fold(word) for spellings in self.back.values() for word in spellings):
            return "back"
        if any(words == fold(word) for spellings in self.exit.values() for word in spellings):
            return "exit"
        return None

    def queues(self) -> Mapping[str, str | None]:
        """Every queue the menu can lead to, with the name of its opening hours; None: always open.

        A queue that can be chosen in several places has the hours of the first.
        """
        found: dict[str, str | None] = {}
        for path, option in self.walk():
            if option.queue is not None:
                found.setdefault(option.queue, self.hours_of(path))
        return {self.default: self.top.hours, **found}

    def hours_of(self, path: tuple[int, ...]) -> str | None:
        """The name of the opening hours that hold at *path*; None: always open."""
        return next((option.hours for option in reversed(self.chain(path)) if option.hours is not None), None)

    def listing(self, path: tuple[int, ...], language: str, facts: MenuFacts) -> str:
        """The menu at *path* as it is texted."""
        visible = listed(self.chain(path)[-1], language)
        lines = [self._text("choose", path, language, _values(facts))]
        lines += [f"{number} {option.title.get(language, '')}" for number, (_, option) in enumerate(visible, 1)]
        if path:
            lines.append(self._text("below", path, language, _values(facts)))
        return "\n".join(line for line in lines if line)

    def walk(self) -> Iterator[tuple[tuple[int, ...], Option]]:
        """Every option with its path, the top first, each before what is below it."""
        waiting: list[tuple[tuple[int, ...], Option]] = [((), self.top)]
        while waiting:
            path, option = waiting.pop()
            yield path, option
            waiting += [((*path, index), below) for index, below in reversed(list(enumerate(option.options)))]

    def chain(self, path: tuple[int, ...]) -> list[Option]:
        """The options on the way to *path*, the top first.

        Raises:
            IndexError: There is no such option.
        """
        chain = [self.top]
        for index in path:
            chain.append(chain[-1].options[index])
        return chain

    # What a text means

    def _by_number(self, path: tuple[int, ...], words: str, language: str) -> _Found | None:
        if not words.isdecimal() or len(words) > 3:
            return None
        visible = listed(self.chain(path)[-1], language)
        number = int(words)
        return _Found((*path, visible[number - 1][0]), language, f"number {number}") if 1 <= number <= len(visible) else None

    def _by_keyword(self, words: str, language: str) -> _Found | None:
        for spoken in self._preferred(language):
            for path, option in self.walk():
                if words and any(words == fold(keyword) for keyword in option.keywords.get(spoken, ())):
                    return _Found(path, spoken, f"keyword {words}")
        return None

    def _by_title(self, path: tuple[int, ...], words: str, language: str) -> _Found | None:
        for spoken in self._preferred(language):
            for index, option in enumerate(self.chain(path)[-1].options):
                if words and words == fold(option.title.get(spoken, "")) and not option.hidden:
                    return _Found((*path, index), spoken, f"title {words}")
        return None

    def _preferred(self, language: str) -> list[str]:
        """The customer's language, then the others: whoever writes a word of one of them speaks it."""
        return [language, *(other for other in self.languages if other != language)]

    # What comes of it

    def _take(self, found: _Found, here: tuple[int, ...], lead: _Parts, facts: MenuFacts) -> Step:
        option = self.chain(found.path)[-1]
        if option.queue is not None:
            return self._join(option.queue, found.path, found.language, lead, facts, found.why)
        if option.language is not None:
            return self._show(here, self._language(option.language), lead, facts, found.why)
        values = {**_values(facts), "title": option.title.get(found.language)}
        chosen = self._text("chosen", found.path, found.language, values)
        return self._show(found.path, found.language, [*lead, ("chosen", chosen)], facts, found.why)

    def _show(self, path: tuple[int, ...], language: str, lead: _Parts, facts: MenuFacts, why: str, *, misses: int = 0) -> Step:
        """The menu at *path*, after what *lead* says."""
        return Step(
            place=Place(path, language, misses),
            says=_joined([*lead, ("choose", self.listing(path, language, facts))]),
            queue=None,
            ended=False,
            titles=self._titles(path),
            language=language,
            why=why,
        )

    def _join(self, queue: str, path: tuple[int, ...], language: str, lead: _Parts, facts: MenuFacts, why: str) -> Step:
        return Step(
            place=None,
            says=_joined([*lead, self._arrival(queue, path, language, facts)]),
            queue=queue,
            ended=False,
            titles=self._titles(path),
            language=language,
            why=why,
        )

    def _leave(self, language: str, facts: MenuFacts) -> Step:
        says = _joined([("bye", self._text("bye", (), language, _values(facts)))])
        return Step(place=None, says=says, queue=None, ended=True, titles=(), language=language, why="exit")

    def _arrival(self, queue: str, path: tuple[int, ...], language: str, facts: MenuFacts) -> tuple[str, str | None]:
        now = facts.queues.get(queue, QueueNow())
        honest = now.open and now.staffed
        values: dict[str, str | int | None] = {
            **_values(facts),
            "reopens": None if now.open else now.reopens,
            "ewt_minutes": None if now.ewt_minutes is None or not honest else max(1, now.ewt_minutes),
        }
        if not now.open:
            key = "after_hours"
        elif not now.staffed:
            key = "unavailable"
        else:
            key = "over_capacity" if now.over_capacity else "greeting"
        return key, self._text(key, path, language, self._with_queue(values, path, language))

    # Where things are

    def _menu_at(self, path: tuple[int, ...]) -> tuple[int, ...]:
        """The innermost menu on *path* that there is: a place may come from another version of the menu."""
        sound: tuple[int, ...] = ()
        option = self.top
        for index in path:
            if not 0 <= index < len(option.options) or not option.options[index].options:
                break
            option = option.options[index]
            sound = (*sound, index)
        return sound

    def _place_of(self, queue: str) -> tuple[int, ...]:
        """Where *queue* is chosen. In several places: the menu that they are all below; nowhere: the top."""
        paths = [path for path, option in self.walk() if option.queue == queue]
        common: list[int] = []
        for steps in zip(*paths, strict=False):
            if len(set(steps)) > 1:
                break
            common.append(steps[0])
        return tuple(common)

    def _titles(self, path: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(option.title.get(self.default_language, "") for option in self.chain(path)[1:])

    # Words

    def _language(self, language: str | None) -> str:
        """The nearest language there is: `fr` for `fr-CA`."""
        if language in self.languages:
            return language or self.default_language
        spoken = (language or "").partition("-")[0]
        return spoken if spoken in self.languages else self.default_language

    def _text(self, key: str, path: tuple[int, ...], language: str, values: Mapping[str, str | int | None]) -> str | None:
        """The nearest message of that name on the way up from *path*; None when there is none."""
        said = next((each.messages[key] for each in reversed(self.chain(path)) if key in each.messages), None)
        if said is None:
            return None
        variants = said.get(language) or said.get(self.default_language, ())
        known = {name: str(value) for name, value in values.items() if value is not None}
        fitting = (text for text in variants if known.keys() >= set(PLACEHOLDER.findall(text)))
        text = next(fitting, variants[-1] if variants else "")
        return PLACEHOLDER.sub(lambda match: known.get(match[1], ""), text) or None

    def _with_queue(
        self, values: Mapping[str, str | int | None], path: tuple[int, ...], language: str
    ) -> dict[str, str | int | None]:
        """*values* with the queue's name: the title it is chosen by, else the brand, which is who answers in any case."""
        title = self.chain(path)[-1].title.get(language)
        return {"queue": title or values.get("brand"), **values}


def listed(menu: Option, language: str) -> list[tuple[int, Option]]:
    """The options that are listed, with their positions among all. The language that is spoken already is none."""
    return [(index, option) for index, option in enumerate(menu.options) if not option.hidden and option.language != language]


def _values(facts: MenuFacts) -> dict[str, str | int | None]:
    return {"brand": facts.brand, "name": facts.name}


def _joined(parts: _Parts) -> tuple[Said, ...]:
    """What is to be said, in as few texts as it can be without costing more: several texts may arrive in any order."""
    says: list[Said] = []
    for key, text in parts:
        if not text:
            continue
        if says:
            both = f"{says[-1].text}\n{text}"
            cost = segment(both).segments
            if cost <= LONGEST and cost <= segment(says[-1].text).segments + segment(text).segments:
                says[-1] = Said(says[-1].key, both)
                continue
        says.append(Said(key, text))
    return tuple(says)
