"""Plain forms for entries of the settings, made from their models: one field each, with its meaning and its own problem. Pure.

Names and meanings of settings are English everywhere: in the file, in the documentation, and here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from textwrap import dedent
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bridge.published import as_text
from bridge.settings import DocumentError, read_document
from bridge.web.console.words import LANGUAGES

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Kind = Literal["text", "number", "check", "select", "many", "lines", "week", "words", "yaml"]


class Field(msgspec.Struct, frozen=True):
    """One setting in a form."""

    key: str
    """As `offers.threshold`; also its name in the form."""
    label: str
    help: str
    kind: Kind
    value: Any
    """Text for most; a bool for `check`, a list of texts for `many`; texts by day for `week`, by language for `words`."""
    choices: tuple[str, ...] = ()
    default: str = ""
    required: bool = False
    fixed: bool = False
    """It names the entry, and others go by that name: it cannot be changed."""
    wrong: str = ""

    @property
    def id(self) -> str:
        """Of the input in the page."""
        return "f-" + self.key.replace(".", "-")


class Group(msgspec.Struct, frozen=True):
    """Fields that belong together."""

    title: str
    """Empty for those of the entry itself."""
    help: str
    fields: tuple[Field, ...]


Choices = Mapping[str, Sequence[str]]
"""By key, what can be chosen where the model alone does not tell."""
NONE_SAID = "\N{EN DASH}"
NOTHING: Mapping[str, Any] = MappingProxyType({})


def form_of(
    model: type[BaseModel],
    values: Mapping[str, Any],
    *,
    without: Sequence[str] = (),
    choices: Choices = NOTHING,
    wrong: Mapping[str, str] = NOTHING,
    fixed: str | None = None,
) -> tuple[Group, ...]:
    """The form for an entry.

    Args:
        model: Its model.
        values: What it says now, as plain values.
        without: Keys that the form leaves out.
        choices: See `Choices`.
        wrong: By key, what is wrong with it.
        fixed: The key that cannot be changed.
    """
    return tuple(group for group in _groups(model, values, "", without, choices, wrong, fixed) if group.fields)


def _groups(
    model: type[BaseModel],
    values: Mapping[str, Any],
    prefix: str,
    without: Sequence[str],
    choices: Choices,
    wrong: Mapping[str, str],
    fixed: str | None,
) -> Iterator[Group]:
    fields, inner = [], []
    for name, info in model.model_fields.items():
        key = prefix + name
        if key in without:
            continue
        section = _section(info.annotation)
        if section is not None:
            inner.append((key, section, values.get(name) or {}))
        else:
            fields.append(_field(key, info, values.get(name, ...), choices, wrong, fixed=key == fixed))
    title = words(prefix.rstrip(".")) if prefix else ""
    yield Group(title, (model.__doc__ or "").strip().replace("`", "") if prefix else "", tuple(fields))
    for key, section, inside in inner:
        yield from _groups(section, inside, f"{key}.", without, choices, wrong, fixed)


def _field(key: str, info: FieldInfo, value: Any, choices: Choices, wrong: Mapping[str, str], *, fixed: bool) -> Field:
    kind, known = _kind(info.annotation, choices.get(key))
    default = None if info.is_required() else info.get_default(call_default_factory=True)
    given = default if value is ... else value
    return Field(
        key=key,
        label=words(key.rpartition(".")[2]),
        help=(info.description or "").replace("`", ""),
        kind=kind,
        value=_shown(kind, given),
        choices=known,
        default=""
        if default is None or kind == "check"
        else str(_shown(kind, default) if kind not in {"many", "week", "words"} else ""),
        required=info.is_required(),
        fixed=fixed,
        wrong=wrong.get(key, ""),
    )


def words(key: str) -> str:
    """A key as people write: `ring_timeout` as `Ring timeout`."""
    return key.rpartition(".")[2].replace("_", " ").capitalize()


def setting(value: Any) -> str:
    """A plain value of a setting in a line; a dash where there is none."""
    match value:
        case None | "":
            return NONE_SAID
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case list() | tuple():
            return ", ".join(setting(each) for each in value) or NONE_SAID
        case Mapping():
            return ", ".join(f"{key}: {setting(each)}" for key, each in value.items()) or NONE_SAID
        case _:
            return str(value)


def read(
    model: type[BaseModel], form: Mapping[str, str], *, without: Sequence[str] = (), choices: Choices = NOTHING
) -> tuple[dict[str, Any], dict[str, str]]:
    """What a form says, for `bridge.published.put_entry`, and what of it cannot be read at all, by key.

    What is as it would be anyway is None. Values that are none are left as they were typed, so that the check of the settings
    says what is wrong with them.
    """
    wrong: dict[str, str] = {}
    return _read(model, form, "", without, choices, wrong), wrong


def _read(
    model: type[BaseModel],
    form: Mapping[str, str],
    prefix: str,
    without: Sequence[str],
    choices: Choices,
    wrong: dict[str, str],
) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        key = prefix + name
        if key in without:
            continue
        section = _section(info.annotation)
        if section is not None:
            inside = _read(section, form, f"{key}.", without, choices, wrong)
            entry[name] = {inner: value for inner, value in inside.items() if value is not None} or None
            continue
        kind, _ = _kind(info.annotation, choices.get(key))
        value = _parsed(kind, key, form, wrong)
        default = None if info.is_required() else info.get_default(call_default_factory=True)
        usual = not info.is_required() and (value == _plain(default) or (value is None and kind == "yaml"))
        entry[name] = None if usual else value
    return entry


def _parsed(kind: Kind, key: str, form: Mapping[str, str], wrong: dict[str, str]) -> Any:
    text = form.get(key, "").strip()
    match kind:
        case "check":
            return key in form
        case "many":
            return [name.removeprefix(f"{key}=") for name in form if name.startswith(f"{key}=")]
        case "lines":
            return [line.strip() for line in text.splitlines() if line.strip()]
        case "words":
            return {language: said for language, said in _inside(key, form) if said}
        case "week":
            spans = {day: [span for span in re.split(r"[\s,;]+", said) if span] for day, said in _inside(key, form)}
            return {day: spans[day] for day in DAYS if spans.get(day)}
        case "number":
            return _number(text)
        case "yaml":
            return _yaml(key, dedent(form.get(key, "")), wrong) if text else None
        case _:
            return text or None


def _inside(key: str, form: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name.removeprefix(f"{key}."), said.strip()) for name, said in form.items() if name.startswith(f"{key}.")]


def _number(text: str) -> float | str | None:
    try:
        number = float(text)
    except ValueError:
        return text or None
    return int(number) if number.is_integer() else number


def _yaml(key: str, text: str, wrong: dict[str, str]) -> Any:
    try:
        return read_document("v:\n" + "\n".join(f"  {line}" for line in text.splitlines()))["v"]
    except DocumentError as error:
        wrong[key] = "; ".join(problem.what for problem in error.problems)
        return text


def _shown(kind: Kind, value: Any) -> Any:
    plain = _plain(value)
    match kind:
        case "check":
            return bool(plain)
        case "many":
            return [str(each) for each in plain or ()]
        case "lines":
            return "\n".join(str(each) for each in plain or ())
        case "words":
            return {language: (plain or {}).get(language, "") for language in dict.fromkeys((*LANGUAGES, *(plain or ())))}
        case "week":
            return {day: ", ".join((plain or {}).get(day, ())) for day in DAYS}
        case "yaml" if not isinstance(plain, str):
            return dedent(as_text(plain)).rstrip("\n") if plain else ""
        case "number" if isinstance(plain, float) and plain.is_integer():
            return str(int(plain))
        case _:
            return "" if plain is None else str(plain)


def _plain(value: Any) -> Any:
    """Models, tuples and mappings as what YAML knows."""
    match value:
        case BaseModel():
            return value.model_dump(mode="json", exclude_unset=True)
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case tuple() | list():
            return [_plain(each) for each in value]
        case _:
            return value


def _kind(annotation: Any, known: Sequence[str] | None) -> tuple[Kind, tuple[str, ...]]:
    bare = _bare(annotation)
    origin, inside = get_origin(bare), get_args(bare)
    if origin is Literal:
        return "select", tuple(str(each) for each in inside)
    if origin is tuple:
        each = _bare(inside[0])
        if get_origin(each) is Literal:
            return "many", tuple(str(one) for one in get_args(each))
        if known is not None:
            return "many", tuple(known)
        return ("yaml", ()) if isinstance(each, type) and issubclass(each, BaseModel) else ("lines", ())
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if get_origin(_bare(inside[0])) is Literal:
            return "week", DAYS
        return ("words", ()) if inside[1] is str else ("yaml", ())
    if isinstance(bare, type) and issubclass(bare, BaseModel):
        return "yaml", ()
    if bare is bool:
        return "check", ()
    # A number may have a word in its place: what is none stays as it was typed.
    if origin in {Union, UnionType} or bare in {int, float}:
        return "number", ()
    return ("select", tuple(known)) if known is not None else ("text", ())


def _section(annotation: Any) -> type[BaseModel] | None:
    """The model, when a setting is a section that is always there."""
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _bare(annotation: Any) -> Any:
    """A type without what is said beside it: `Annotated[int, ...] | None` as `int`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _bare(get_args(annotation)[0])
    if origin in {Union, UnionType}:
        first = [each for each in get_args(annotation) if each is not NoneType]
        return _bare(first[0]) if len(first) == 1 else annotation
    return annotation
