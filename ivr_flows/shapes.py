"""The structs of `model` as data: their fields, what each is called in a file, and a walk over everything they hold."""

import types
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, TypeAlias, Union

from msgspec import NODEFAULT, Struct, structs

from ivr_flows.expressions import Expression

Path: TypeAlias = tuple[str | int, ...]
"""Keys and list indexes that lead to a value of the file."""


class Ref(Struct, frozen=True):
    """Marks a text of the flow that names something, or has a form of its own."""

    kind: str


class Part(Struct, frozen=True, kw_only=True):
    """A mapping of the flow file.

    `SHORT` names the field that a bare value stands for (`say: hello` is `say: {prompt: hello}`), `WHOLE` the field that
    takes the entire value as it is. `NAME` is set for what is written as a mapping with that one key.
    """

    NAME: ClassVar[str] = ""
    SHORT: ClassVar[str] = ""
    WHOLE: ClassVar[str] = ""


class Shape(Struct, frozen=True):
    """One field of a part."""

    name: str
    """As written in a file."""
    attribute: str
    hint: Any
    required: bool
    default: Any


@cache
def shapes(kind: type[Part]) -> tuple[Shape, ...]:
    """Fields of *kind* that may be written in a file."""
    found = []
    for info in structs.fields(kind):
        if marker(info.type) == "line":
            continue
        default = None
        if info.default is not NODEFAULT:
            default = info.default
        elif info.default_factory is not NODEFAULT:
            default = info.default_factory()
        found.append(Shape(info.encode_name, info.name, info.type, info.required, default))
    return tuple(found)


def marker(hint: Any) -> str:
    """Kind of the `Ref` on a type; empty when there is none."""
    if typing.get_origin(hint) is Annotated:
        for extra in typing.get_args(hint)[1:]:
            if isinstance(extra, Ref):
                return extra.kind
    return ""


def choices(hint: Any) -> tuple[Any, ...]:
    """The types a value may have, without None: members of a union, or the type itself."""
    if typing.get_origin(hint) in {Union, types.UnionType}:
        return tuple(part for part in typing.get_args(hint) if part is not type(None))
    return (hint,)


def is_part(hint: Any) -> bool:
    """Whether a type is one mapping of the file."""
    return isinstance(hint, type) and issubclass(hint, Part)


def walk(hint: Any, value: object, path: Path = ()) -> Iterator[tuple[Path, str, object]]:
    """Every marked text and every expression in *value*, which is of type *hint*: where, of what kind, itself."""
    if value is None:
        return
    if isinstance(value, Part):
        inside = (*path, value.NAME) if value.NAME else path
        for shape in shapes(type(value)):
            where = inside if shape.name == value.WHOLE else (*inside, shape.name)
            yield from walk(shape.hint, getattr(value, shape.attribute), where)
        return
    hint = choices(hint)[0]
    if isinstance(value, Expression):
        yield path, "expression", value
    elif kind := marker(hint):
        yield path, kind, value
    elif isinstance(value, Mapping):
        key_hint, item_hint = typing.get_args(hint)
        for key, item in value.items():
            yield from walk(key_hint, key, (*path, key))
            yield from walk(item_hint, item, (*path, key))
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from walk(typing.get_args(hint)[0], item, (*path, index))
