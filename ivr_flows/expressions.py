"""The small expression language of `when`, `if`, `set` and `priority`.

Comparisons, `and`/`or`/`not`, `? :`, arithmetic, durations (`90s`, `6m`, `2h`), text in single quotes, dotted names and
a fixed list of functions. No loops and no way to anything but what `Facts` and the run's variables hold.

What is not known is None and stays so (Kleene's three-valued logic): `unknown > 6m` is unknown, `not unknown` is unknown,
and a condition holds only when it is true. `known(x)` asks.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from msgspec import Struct, structs

from ivr_flows.facts import Ewt, Facts

Value: TypeAlias = bool | float | str | None

MAX_LENGTH = 500
"""Characters of one expression."""
MAX_DEPTH = 24
"""Brackets within brackets, and what counts like them."""

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

FACT_NAMES = frozenset({
    "caller", "caller.number", "caller.can_text", "caller.can_call", "caller.country", "called", "contact.language",
    "contact.name", "brand",
    "language", "waited", "position", "opted_out", "menu_path", "place_in_line",
})  # fmt: skip
"""Names a flow may read without setting them."""

EWT_FIELDS = ("low", "high", "status", "basis", "mean", "p10", "p50", "p75", "p90")
DESK_FIELDS = ("staffed", "waiting", "open_slots")
FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "ewt": EWT_FIELDS,
    "desk": DESK_FIELDS,
    "hours": (),
    "consent": (),
    "known": (),
    "len": (),
    "number": (),
}
"""Every function, with the fields one of which has to follow it."""
_NAMING = frozenset({"ewt", "desk", "hours", "consent"})
"""Functions whose argument is a name, in quotes, that has to exist."""


class ExpressionError(ValueError):
    """An expression that cannot be read. `at` is the offset of the character where it went wrong."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


class Literal(Struct, frozen=True):
    """A number, a duration in seconds, a text, true or false."""

    value: Value


class Name(Struct, frozen=True):
    """A fact or a variable."""

    name: str


class Call(Struct, frozen=True):
    """A function, and the field of its result."""

    function: str
    argument: "Node"
    field: str | None


class Unary(Struct, frozen=True):
    """`not x` or `-x`."""

    operator: str
    operand: "Node"


class Binary(Struct, frozen=True):
    """Two operands and what is done with them."""

    operator: str
    left: "Node"
    right: "Node"


class Conditional(Struct, frozen=True):
    """`test ? yes : no`; an unknown test counts as false."""

    test: "Node"
    yes: "Node"
    no: "Node"


Node: TypeAlias = Literal | Name | Call | Unary | Binary | Conditional

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<duration>\d+(?:\.\d+)?[smhd]\b)
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<text>'[^'\\\n]*'|"[^"\\\n]*")
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
    | (?P<operator>==|!=|<=|>=|[<>()?:+\-*/,.])
    | (?P<end>$)
    )""",
    re.VERBOSE,
)
_COMPARISONS = ("==", "!=", "<=", ">=", "<", ">")
_WORDS = {"true": True, "false": False}
_RESERVED = frozenset({"and", "or", "not", "true", "false"})


class _Token(Struct, frozen=True):
    kind: str
    text: str
    at: int


def _tokens(source: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while True:
        match = _TOKEN.match(source, at)
        if match is None:
            while source[at].isspace():
                at += 1
            raise ExpressionError(f"{source[at]!r} has no meaning here", at)
        kind = match.lastgroup or "end"
        found.append(_Token(kind, match[kind], match.start(kind)))
        if kind == "end":
            return found
        at = match.end()


class _Parser:
    """Recursive descent, one method per level of binding, loosest first."""

    def __init__(self, source: str) -> None:
        self.tokens = _tokens(source)
        self.next = 0
        self.depth = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def accept(self, *texts: str) -> str | None:
        """Take the next token if it is one of *texts* (operators and the words and, or, not)."""
        if self.token.kind in {"operator", "name"} and self.token.text in texts:
            self.next += 1
            return self.tokens[self.next - 1].text
        return None

    def expect(self, text: str) -> None:
        if self.accept(text) is None:
            raise ExpressionError(f"expected {text!r} before {self.token.text or 'the end'!r}", self.token.at)

    def whole(self) -> Node:
        node = self.conditional()
        if self.token.kind != "end":
            raise ExpressionError(f"{self.token.text!r} is not expected here", self.token.at)
        return node

    def conditional(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(f"nested more than {MAX_DEPTH} deep", self.token.at)
        test = self.alternatives()
        if self.accept("?"):
            yes = self.conditional()
            self.expect(":")
            test = Conditional(test, yes, self.conditional())
        self.depth -= 1
        return test

    def _chain(self, below: Callable[[], Node], *operators: str) -> Node:
        left = below()
        while operator := self.accept(*operators):
            left = Binary(operator, left, below())
        return left

    def alternatives(self) -> Node:
        return self._chain(self.conjunctions, "or")

    def conjunctions(self) -> Node:
        return self._chain(self.negation, "and")

    def negation(self) -> Node:
        count = 0
        while self.accept("not"):
            count += 1
        node = self.comparison()
        return Unary("not", node) if count % 2 else Unary("not", Unary("not", node)) if count else node

    def comparison(self) -> Node:
        left = self.sum()
        if operator := self.accept(*_COMPARISONS):
            left = Binary(operator, left, self.sum())
            if self.token.text in _COMPARISONS and self.token.kind == "operator":
                raise ExpressionError("compare two things at a time and join them with `and`", self.token.at)
        return left

    def sum(self) -> Node:
        return self._chain(self.product, "+", "-")

    def product(self) -> Node:
        return self._chain(self.minus, "*", "/")

    def minus(self) -> Node:
        count = 0
        while self.accept("-"):
            count += 1
        node = self.atom()
        return Unary("-", node) if count % 2 else node

    def atom(self) -> Node:
        token = self.token
        if self.accept("("):
            node = self.conditional()
            self.expect(")")
            return node
        self.next += 1
        match token.kind:
            case "duration":
                return Literal(float(token.text[:-1]) * UNITS[token.text[-1]])
            case "number":
                return Literal(float(token.text))
            case "text":
                return Literal(token.text[1:-1])
            case "name" if token.text in _WORDS:
                return Literal(_WORDS[token.text])
            case "name" if token.text not in _RESERVED:
                return self.call(token) if self.accept("(") else Name(token.text)
            case _:
                raise ExpressionError(f"expected a value before {token.text or 'the end'!r}", token.at)

    def call(self, name: _Token) -> Node:
        if name.text not in FUNCTIONS:
            raise ExpressionError(f"there is no function {name.text!r}; there are {', '.join(FUNCTIONS)}", name.at)
        argument_at = self.token.at
        argument = self.conditional()
        self.expect(")")
        if name.text in _NAMING and not (isinstance(argument, Literal) and isinstance(argument.value, str)):
            raise ExpressionError(f"{name.text}(...) takes a name in single quotes", argument_at)
        fields = FUNCTIONS[name.text]
        field = None
        if self.accept("."):
            field = self.token.text
            self.next += self.token.kind == "name"
        if fields and field not in fields:
            raise ExpressionError(f"{name.text}(...) is followed by one of .{', .'.join(fields)}", self.token.at)
        if field and not fields:
            raise ExpressionError(f"{name.text}(...) has no fields", self.token.at)
        return Call(name.text, argument, field)


class Expression(Struct, frozen=True):
    """An expression that has been read."""

    source: str
    node: Node

    @classmethod
    def parse(cls, source: str) -> "Expression":
        """Read *source*.

        Raises:
            ExpressionError: It cannot be read.
        """
        if len(source) > MAX_LENGTH:
            raise ExpressionError(f"longer than {MAX_LENGTH} characters", MAX_LENGTH)
        return cls(source, _Parser(source).whole())

    def nodes(self) -> Iterator[Node]:
        """Every part of it, the whole first."""
        todo: list[Node] = [self.node]
        while todo:
            node = todo.pop()
            yield node
            todo.extend(part for part in structs.astuple(node) if isinstance(part, Node))

    def evaluate(self, scope: "Scope") -> Value:
        """Its value; None when that is not known. What was read on the way is left in `scope.reads`."""
        return _evaluate(self.node, scope)

    def holds(self, scope: "Scope") -> bool:
        """Whether it is true; unknown is not true."""
        return _evaluate(self.node, scope) is True


class Scope:
    """What names and functions stand for at one instant, and a record of what was asked."""

    def __init__(self, facts: Facts, values: Mapping[str, object]) -> None:
        self.facts = facts
        self.values = values
        self.reads: dict[str, Value] = {}

    def name(self, name: str) -> Value:
        """Value of a name: the run's own first, then the facts; None when there is none."""
        facts = self.facts
        if name in self.values:
            value = as_value(self.values[name])
        else:
            match name:
                case "caller" | "caller.number":
                    value = facts.caller
                case "caller.can_call":
                    value = facts.can_call
                case "caller.can_text":
                    value = facts.can_text
                case "caller.country":
                    value = facts.country
                case "contact.language":
                    value = facts.contact_language
                case "contact.name":
                    value = facts.contact_name
                case "called" | "brand" | "opted_out" | "waited" | "position":
                    value = as_value(getattr(facts, name))
                case _:
                    value = None
        self.reads[name] = value
        return value

    def call(self, function: str, argument: Value, field: str | None) -> Value:
        """Value of a function that looks something up."""
        name = str(argument)
        match function:
            case "ewt":
                value = _of_ewt(self.facts.ewt.get(name), str(field))
            case "desk":
                desk = self.facts.desks.get(name)
                value = None if desk is None else as_value(getattr(desk, str(field)))
            case "hours":
                hours = self.facts.hours.get(name)
                value = None if hours is None else hours.state
            case _:
                value = name in self.facts.consent and not self.facts.opted_out
        self.reads[f"{function}('{name}')" + (f".{field}" if field else "")] = value
        return value


def _of_ewt(ewt: Ewt | None, field: str) -> Value:
    """A field of an estimate. `low` and `high` are the band a caller would be told: median and third quartile."""
    if ewt is None:
        return None
    return as_value(getattr(ewt, {"low": "p50", "high": "p75"}.get(field, field)))


def as_value(value: object) -> Value:
    """*value* as the language knows it: every number is a float."""
    if value is None or isinstance(value, bool | str):
        return value
    return float(value) if isinstance(value, int | float) else str(value)


def _evaluate(node: Node, scope: Scope) -> Value:
    match node:
        case Literal(value=value):
            return value
        case Name(name=name):
            return scope.name(name)
        case Call(function=function, argument=argument, field=field):
            return _call(function, _evaluate(argument, scope), field, scope)
        case Unary(operator=operator, operand=operand):
            return _unary(operator, _evaluate(operand, scope))
        case Conditional(test=test, yes=yes, no=no):
            return _evaluate(yes if _evaluate(test, scope) is True else no, scope)
        case Binary(operator="and" | "or" as operator, left=left, right=right):
            return _logic(operator, _evaluate(left, scope), right, scope)
        case _:
            return _binary(node.operator, _evaluate(node.left, scope), _evaluate(node.right, scope))


def _call(function: str, argument: Value, field: str | None, scope: Scope) -> Value:
    match function:
        case "known":
            return argument is not None
        case "len":
            return None if argument is None else float(len(text_of(argument)))
        case "number":
            text = text_of(argument)
            return float(text) if re.fullmatch(r"-?\d+(?:\.\d+)?", text, re.ASCII) else None
        case _:
            return scope.call(function, argument, field)


def _unary(operator: str, value: Value) -> Value:
    if operator == "not":
        return not value if isinstance(value, bool) else None
    return -value if isinstance(value, float) else None


def _logic(operator: str, left: Value, right: Node, scope: Scope) -> Value:
    """Kleene: one operand that settles it settles it, whatever the other; the right one is not read then."""
    settles = operator == "or"
    if left is settles:
        return settles
    value = _evaluate(right, scope)
    if value is settles:
        return settles
    return (not settles) if left is value is (not settles) else None


def _binary(operator: str, left: Value, right: Value) -> Value:
    if left is None or right is None:
        return None
    match operator:
        case "==":
            return left == right and isinstance(left, bool) == isinstance(right, bool)
        case "!=":
            return left != right or isinstance(left, bool) != isinstance(right, bool)
    if not isinstance(left, float) or not isinstance(right, float):
        return None
    return _numbers(operator, left, right)


def _numbers(operator: str, left: float, right: float) -> Value:
    match operator:
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case ">=":
            return left >= right
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case _:
            return left / right if right else None


def text_of(value: Value) -> str:
    """*value* as it is written in a text: whole numbers without a point, nothing for what is not known."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value.is_integer() else str(value)
        case _:
            return value


def parse_duration(text: str) -> float:
    """Seconds of `5s`, `1.5m`, `2h`, `1d`.

    Raises:
        ValueError: It is no duration; a bare number has no unit and is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text, re.ASCII)
    if match is None:
        raise ValueError("a duration is a number with its unit: 5s, 2m, 1h, 1d")
    return float(match[1]) * UNITS[match[2]]
