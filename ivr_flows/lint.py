"""What can be wrong with a flow that could be read: names, dead ends, loops, legs, prompts, consent.

Codes are those of `docs/flow-language.md`. Each rule is a method of `_Rules`; it notes what it finds in the file's document.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping

from ivr_flows.expressions import FACT_NAMES, Binary, Call, Expression, Name
from ivr_flows.model import (
    FORMS,
    PURPOSES,
    Action,
    Announce,
    AnyAction,
    CallBack,
    Catalogue,
    CheckHours,
    Choose,
    ChooseLanguage,
    Collect,
    End,
    Flow,
    FlowFile,
    Goto,
    HangUp,
    HoldOffer,
    Menu,
    OfferCallback,
    OfferSms,
    OpenSms,
    Prompt,
    Queue,
    SendSms,
    placeholders,
)
from ivr_flows.reader import Document, nearest
from ivr_flows.shapes import Path, walk

ANNOUNCED = {
    "position": ("queue_next", "queue_position"),
    "ewt": ("ewt_less_than_minute", "ewt_about", "ewt_band", "ewt_longer_than_usual", "ewt_longer_than_told"),
}
"""Prompts an announcement takes from the catalogue."""
SPOKEN_VALUES = frozenset({"position", "low", "high"})
"""Placeholders that announcements fill in."""
TEXT_VALUES = frozenset({"agent"})
"""Placeholders the server fills in when a text has an author."""
SKIP_WORDS = "skip_words"
GSM7 = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà^{}\\[~]|€"
)
"""3GPP TS 23.038 section 6.2.1, with its extension table."""
LONG_TEXT = 306
"""Characters of two GSM-7 segments."""
RATES = re.compile(r"rates|frais|tarif", re.IGNORECASE)
MANY_KEYS = 5
ANNOUNCE_GAP = 30.0


def lint(
    flow: Flow,
    file: FlowFile,
    document: Document,
    others: Mapping[str, Document],
    recorded: Callable[[str], bool],
) -> None:
    """Note everything that is wrong with *flow*.

    Args:
        flow: What was read.
        file: The flow file it came of.
        document: Where the flow file's problems go.
        others: The prompts' documents, by file name.
        recorded: Whether a recording exists, by its path below the prompts folder.
    """
    rules = _Rules(flow, file, document)
    rules.names()
    rules.ways()
    rules.legs()
    rules.exits()
    rules.offers()
    _Prompts(flow, rules, document, others).check(recorded)


class _Rules:
    """Rules on the flow file."""

    def __init__(self, flow: Flow, file: FlowFile, document: Document) -> None:
        self.flow = flow
        self.document = document
        self.found = list(walk(FlowFile, file))
        self.variables = {str(value) for _, kind, value in self.found if kind == "variable"}

    def note(self, code: str, path: Path, message: str, remedy: str) -> None:
        self.document.problem(code, path, message, remedy)

    def actions(self) -> Iterator[tuple[Path, str, AnyAction]]:
        for state, actions in self.flow.states.items():
            for index, action in enumerate(actions):
                yield ("states", state, index, action.NAME), state, action

    # names

    def names(self) -> None:
        """F010: everything that is named exists."""
        known: Mapping[str, frozenset[str]] = {
            "state": frozenset(self.flow.states),
            "language": frozenset(self.flow.languages),
            "purpose": PURPOSES,
            "readable": FACT_NAMES | self.variables,
        }
        for path, kind, value in self.found:
            if kind in known and str(value) not in known[kind]:
                self.note("F010", path, f"there is no {_CALLED.get(kind, kind)} {value!r}", nearest(str(value), known[kind]))
            elif isinstance(value, Expression):
                self._expression(path, value)
            elif kind == "template":
                self._template(path, str(value))

    def _expression(self, path: Path, expression: Expression) -> None:
        names = FACT_NAMES | self.variables
        for node in expression.nodes():
            if isinstance(node, Name) and node.name not in names:
                self.note("F010", path, f"there is no variable or fact {node.name!r}", nearest(node.name, names))
        if path[-1] == "when" and not _asks_if_known(expression):
            self.note(
                "F050",
                path,
                "an expected wait may be unknown, and then this is not true",
                "add known(ewt('...').low) where it matters",
            )

    def _template(self, path: Path, template: str) -> None:
        names = FACT_NAMES | self.variables
        for name, _ in placeholders(template):
            if name not in names:
                self.note("F010", path, f"there is no variable or fact {name!r}", nearest(name, names))

    # ways through the flow

    def ways(self) -> None:
        """F011 to F013: every state can be reached, left, and does not go round in circles by itself."""
        edges: dict[str, set[str]] = defaultdict(set)
        instant: dict[str, set[str]] = defaultdict(set)
        for path, kind, value in self.found:
            if kind == "state" and path[0] == "states" and len(path) > 2:
                edges[str(path[1])].add(str(value))
        for state, actions in self.flow.states.items():
            self._way_out(state, actions)
            instant[state] |= _at_once(actions)
        reached = _reached({self.flow.start}, edges)
        for state in self.flow.states:
            if state not in reached:
                self.note("F011", ("states", state), f"no way leads to state {state!r}", "lead one there, or remove it")
        for state in self.flow.states:
            if state in _reached(instant[state], instant):
                self.note(
                    "F013",
                    ("states", state),
                    f"{state!r} comes back to itself without waiting for anybody",
                    "ask the caller, or end",
                )

    def _way_out(self, state: str, actions: tuple[AnyAction, ...]) -> None:
        if not actions:
            self.note("F012", ("states", state), f"state {state!r} has no actions", "add one, `- end` at least")
            return
        for index, action in enumerate(actions):
            last = index == len(actions) - 1
            if _leaves(action) and not last:
                self.note("F012", ("states", state, index + 1), "this is never reached", "remove it, or move it up")
                return
            if last and not _leaves(action) and not any(isinstance(each, HangUp) for each in actions):
                self.note("F012", ("states", state), f"state {state!r} just stops", "end it with goto, hangup or end")

    # legs

    def legs(self) -> None:
        """F020 and F022: nothing is said when nobody can hear it."""
        dead = set[str]()
        for path, _, action in self.actions():
            if isinstance(action, Queue) and action.then.hung_up:
                dead.add(action.then.hung_up)
            if isinstance(action, HangUp):
                following = self.flow.states[str(path[1])][int(path[2]) + 1 :]
                self._text_only(following, path[:2], int(path[2]) + 1)
                dead |= {target for later in following for target in _targets(later)}
        edges = {
            state: {target for action in actions for target in _targets(action)} for state, actions in self.flow.states.items()
        }
        for state in _reached(dead, edges):
            self._text_only(self.flow.states.get(state, ()), ("states", state), 0)
        self._answered_first()

    def _text_only(self, actions: tuple[AnyAction, ...], path: Path, offset: int) -> None:
        for index, action in enumerate(actions):
            if action.LEG == "voice" and not isinstance(action, HangUp):
                self.note("F020", (*path, offset + index), f"{action.NAME!r} after the call has ended", "move it before the end")

    def _answered_first(self) -> None:
        seen: set[str] = set()
        todo = [self.flow.start]
        while todo:
            state = todo.pop()
            if state in seen or state not in self.flow.states:
                continue
            seen.add(state)
            for index, action in enumerate(self.flow.states[state]):
                if action.NAME == "answer":
                    break
                if action.LEG == "voice" and not isinstance(action, HangUp):
                    self.note(
                        "F022", ("states", state, index), f"{action.NAME!r} before the call is answered", "begin with `- answer`"
                    )
                    break
                todo += _targets(action)

    # exits

    def exits(self) -> None:
        """F021 and F023: input and conditions have a way out for everything that can happen."""
        for path, _, action in self.actions():
            match action:
                case Choose(branches=branches):
                    self._branches(path, branches)
                case Menu():
                    self._menu(path, action)
                case Collect(failed=None, no_input=no_input, no_match=no_match) if no_input is None or no_match is None:
                    self.note(
                        "F021", path, "collecting digits has no way out", "add `failed: state`, or `no_input` and `no_match`"
                    )
                case Queue(limits=limits, then=then):
                    if limits.wait is not None and then.waited_out is None:
                        self.note("F021", path, "`limits: wait` leads nowhere", "add `then: {waited_out: state}`")
                    if limits.no_agents is not None and then.no_agents is None:
                        self.note("F021", path, "`limits: no_agents` leads nowhere", "add `then: {no_agents: state}`")
                    self._treatment(path, action)
                case _:
                    pass

    def _menu(self, path: Path, action: Menu) -> None:
        for name in ("no_input", "no_match"):
            if getattr(action, name) is None:
                self.note("F021", path, f"the menu has no `{name}`", f"add `{name}: {{prompts: [...], goto: ...}}`")
        if len(action.keys) > MANY_KEYS:
            self.note("F023", (*path, "keys"), f"{len(action.keys)} keys are hard to remember", "split the menu")

    def _branches(self, path: Path, branches: tuple[object, ...]) -> None:
        for index, branch in enumerate(branches):
            when, goto, otherwise = (getattr(branch, name) for name in ("when", "goto", "otherwise"))
            last = index == len(branches) - 1
            sound = (otherwise is not None and when is None and goto is None) if last else (when is not None and goto is not None)
            if not sound:
                message = "the last line of `choose` is `otherwise`" if last else "a line of `choose` has `when` and `goto`"
                self.note("F021", (*path, index), message, "write {when: ..., goto: state}, and {otherwise: state} at the end")

    def _treatment(self, path: Path, action: Queue) -> None:
        kinds = [type(item) for item in action.treatment]
        for index, item in enumerate(action.treatment):
            where = (*path, "treatment", index)
            if kinds.index(type(item)) != index:
                self.note("F002", where, f"{item.NAME!r} stands twice in this treatment", "keep one")
            if isinstance(item, Announce) and item.every < ANNOUNCE_GAP:
                self.note("F053", where, "announcements under 30 s apart drive callers away", "write `every: 30s` or more")
            if isinstance(item, OfferCallback):
                self._offered_callback(where, action, item)
            if isinstance(item, HoldOffer):
                if item.accept in action.keys:
                    self.note("F052", where, f"key {item.accept!r} also leaves the queue", "take another key for one of them")
                if not item.ask:
                    self.note("F004", where, "nothing is asked", "add `ask: [{into: reason, text: ask_reason}]`")

    def _offered_callback(self, where: Path, action: Queue, item: OfferCallback) -> None:
        taken = {*action.keys, *(other.accept for other in action.treatment if isinstance(other, HoldOffer))}
        if item.accept in taken:
            self.note("F052", where, f"key {item.accept!r} means something else here too", "take another key for one of them")
        if item.every < ANNOUNCE_GAP:
            self.note("F053", where, "the same offer under 30 s apart drives callers away", "write `every: 2m` or more")
        if not any(isinstance(later, CallBack) for later in self._after(item.to)):
            self.note("F054", where, f"{item.to!r} does not lead to `callback`", "lead there, or nothing new is promised")

    def _after(self, state: str) -> Iterator[AnyAction]:
        """Every action that can follow the beginning of *state*."""
        edges = {
            name: {target for action in actions for target in _targets(action)} for name, actions in self.flow.states.items()
        }
        for name in _reached({state}, edges):
            yield from self.flow.states.get(name, ())

    # offers

    def offers(self) -> None:
        """F040 and F051: texting needs consent, and a way out for those who cannot."""
        for path, _, action in self.actions():
            if isinstance(action, OfferSms) and action.unreachable is None:
                self.note("F051", path, "callers who cannot be texted go where those go who refuse", "add `unreachable: state`")
            if isinstance(action, SendSms) and action.purpose == "marketing" and not _asks_consent(action.condition):
                self.note("F040", path, "advertising without consent", "add `if: consent('marketing')`")


class _Prompts:
    """Rules on the prompts."""

    def __init__(self, flow: Flow, rules: _Rules, document: Document, others: Mapping[str, Document]) -> None:
        self.flow = flow
        self.rules = rules
        self.document = document
        self.others = others

    def check(self, recorded: Callable[[str], bool]) -> None:
        """F030 to F036: every prompt exists in every language, says the same, and can be heard."""
        used = self._used()
        default = self.flow.catalogues.get(self.flow.default_language)
        if default is None:
            self.rules.note("F010", ("languages", "default"), "the default language is not available", "add it to `available`")
            return
        for key, (path, form) in used.items():
            if key not in default.prompts:
                remedy = nearest(key, default.prompts)
                self.rules.note("F030", path, f"prompt {key!r} is missing in {default.language!r}", remedy)
            elif form == "prompt" and default.prompts[key].say is None:
                self.rules.note("F030", path, f"prompt {key!r} has no spoken form", "give it `say:`")
        first = self._first_texts()
        for language, catalogue in self.flow.catalogues.items():
            document = next(
                other for name, other in self.others.items() if name.endswith(f"/{language}.yaml") and "/words/" not in name
            )
            for key, prompt in catalogue.prompts.items():
                self._one(document, key, prompt, default.prompts.get(key), recorded)
                if key in used:  # a catalogue may serve several flows, and another one may set what is missing here
                    self._known(document, key, prompt)
                if key in first:
                    _first_text(document, key, prompt)
            self._missing(document, catalogue, default)

    def _used(self) -> dict[str, tuple[Path, str]]:
        used: dict[str, tuple[Path, str]] = {}
        for path, kind, value in self.rules.found:
            if kind in {"prompt", "text"}:
                used.setdefault(str(value), (path, kind))
        for path, _, action in self.rules.actions():
            for item in action.treatment if isinstance(action, Queue) else ():
                if isinstance(item, Announce):
                    for key in (key for what in item.what for key in ANNOUNCED[what]):
                        used.setdefault(key, (path, "prompt"))
                if isinstance(item, HoldOffer) and any(question.media for question in item.ask):
                    used.setdefault(SKIP_WORDS, (path, "text"))
        return used

    def _first_texts(self) -> set[str]:
        first = {self.flow.texts.hello, self.flow.texts.in_call} if self.flow.texts else set[str]()
        for _, _, action in self.rules.actions():
            if isinstance(action, OpenSms):
                first.add(action.text)
            for item in action.treatment if isinstance(action, Queue) else ():
                if isinstance(item, HoldOffer):
                    first.add(item.hello)
        return first

    def _one(self, document: Document, key: str, prompt: Prompt, default: Prompt | None, recorded: Callable[[str], bool]) -> None:
        path = ("prompts", key)
        self._spoken(document, path, prompt, recorded)
        written = prompt.written()
        if re.search(r"\+\d{7,}", written):
            document.problem("F060", path, "a telephone number stands in a prompt", "take it from a fact such as {called}")
        if prompt.text is not None:
            odd = "".join(sorted(set(prompt.text) - GSM7))
            if odd:
                document.problem("F033", path, f"{odd!r} makes every segment 70 characters long", "write it in GSM-7 letters")
            if len(prompt.text) > LONG_TEXT:
                document.problem("F033", path, f"{len(prompt.text)} characters are more than two segments", "say less")
        for form in ("say", "text"):
            ours, theirs = getattr(prompt, form), getattr(default, form, None)
            if ours is not None and theirs is not None and set(placeholders(ours)) != set(placeholders(theirs)):
                document.problem("F032", path, f"other placeholders than in {self.flow.default_language!r}", "use the same ones")

    def _known(self, document: Document, key: str, prompt: Prompt) -> None:
        names = FACT_NAMES | self.rules.variables | SPOKEN_VALUES | TEXT_VALUES
        for name, _ in (*placeholders(prompt.say or ""), *placeholders(prompt.written())):
            if name not in names:
                document.problem("F010", ("prompts", key), f"there is no variable or fact {name!r}", nearest(name, names))

    def _spoken(self, document: Document, path: Path, prompt: Prompt, recorded: Callable[[str], bool]) -> None:
        for name, form in placeholders(prompt.say or ""):
            if form not in FORMS:
                remedy = f"write {{{name}:number}}, {{{name}:minutes}} or {{{name}:digits}}"
                document.problem("F035", path, f"there is no recording of {{{name}}}", remedy)
        for part in prompt.audio:
            if not part.startswith("{") and not recorded(part):
                document.problem("F036", path, f"there is no recording {part}", "run `python -m ivr_flows.record`")

    def _missing(self, document: Document, catalogue: Catalogue, default: Catalogue) -> None:
        for key in default.prompts.keys() - catalogue.prompts.keys():
            remedy = f"callers will hear it in {default.language!r}: translate it"
            document.problem("F031", ("prompts",), f"prompt {key!r} is missing in {catalogue.language!r}", remedy)


def _first_text(document: Document, key: str, prompt: Prompt) -> None:
    """F034: the first text to anybody says who writes, what it costs and how to end it."""
    written = prompt.written()
    wanted = {
        "{brand}": "{brand}" in written,
        "the rates": RATES.search(written) is not None,
        "STOP": "STOP" in written,
        "HELP": "HELP" in written,
    }
    missing = [what for what, there in wanted.items() if not there]
    if missing:
        document.problem("F034", ("prompts", key), f"a first text lacks {', '.join(missing)}", "add it")


_CALLED = {"readable": "variable or fact"}


def _targets(action: AnyAction) -> set[str]:
    return {str(value) for _, kind, value in walk(type(action), action) if kind == "state"}


def _leaves(action: Action) -> bool:
    """Whether nothing after this action can be reached."""
    match action:
        case Goto() | End() | Choose() | Menu() | OfferSms():
            return True
        case CheckHours(open=target) | OpenSms(delivered=target) | CallBack(done=target):
            return target is not None
        case Queue(then=then):
            return then.answered is not None
        case _:
            return False


def _at_once(actions: tuple[AnyAction, ...]) -> set[str]:
    """States that are reached without waiting for the caller, an agent or a text."""
    found: set[str] = set()
    for action in actions:
        if isinstance(action, Menu | Collect | ChooseLanguage | Queue | OpenSms):
            break
        if isinstance(action, CallBack):
            found.add(action.failed)
            break
        if isinstance(action, OfferSms):
            found |= {target for target in (action.declined, action.unreachable) if target}
        else:
            found |= _targets(action)
        if _leaves(action) or isinstance(action, End):
            break
    return found


def _reached(start: set[str], edges: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(start)
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            todo += edges.get(state, set())
    return seen


def _asks_if_known(expression: Expression) -> bool:
    """Whether an expression that compares an expected wait also asks whether it is known."""
    nodes = list(expression.nodes())
    compared = any(
        isinstance(node, Binary) and any(isinstance(side, Call) and side.function == "ewt" for side in (node.left, node.right))
        and node.operator in {"<", ">", "<=", ">="}
        for node in nodes
    )  # fmt: skip
    asked = any(isinstance(node, Call) and (node.function == "known" or node.field in {"status", "basis"}) for node in nodes)
    return asked or not compared


def _asks_consent(condition: Expression | None) -> bool:
    return condition is not None and any(isinstance(node, Call) and node.function == "consent" for node in condition.nodes())
