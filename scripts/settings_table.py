"""Writes the table of settings in `docs/operations.md` from `bridge.settings`; a test fails when they differ."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bridge.diagram import between
from bridge.settings import Settings

PAGE = Path("docs/operations.md")


def rows(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Key, default and meaning of every setting of *section*, its sections' included."""
    for name, field in section.model_fields.items():
        inner, mark = _inner(field.annotation)
        key = f"{prefix}{name}{mark}"
        if inner is not None:
            yield f"{key}{'' if mark else '.'}", _default(field, section=True), _meaning(inner.__doc__)
            yield from rows(inner, f"{key}.")
        else:
            yield key, _default(field, section=False), _meaning(field.description, choices=_choices(field.annotation))


def table() -> str:
    """The Markdown table."""
    lines = ["| setting | default | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{key}` | {default} | {meaning} |" for key, default, meaning in rows(Settings)]
    return "\n".join(lines)


def page_with_table(page: str) -> str:
    """The page with the table as the settings are now."""
    return between(page, "settings", table())


def _inner(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The section an annotation leads to (None: it is a plain value), and `[]` or `.NAME` when there are many of it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, ""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, UnionType}:
        return _inner(next(argument for argument in arguments if argument is not NoneType))
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return _inner(arguments[0])[0], "[]" if _inner(arguments[0])[0] else ""
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _inner(arguments[1])[0], ".NAME" if _inner(arguments[1])[0] else ""
    return None, ""


def _default(field: FieldInfo, *, section: bool) -> str:
    if section:
        return "none" if field.default is None else ""
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value is None or value in ((), {}, ""):
        return "none"
    assert not isinstance(value, SecretStr), "a secret has no default"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(item) for item in value)}]`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _choices(annotation: Any) -> str:
    return ", ".join(f"`{choice}`" for choice in get_args(annotation)) if get_origin(annotation) is Literal else ""


def _meaning(text: str | None, *, choices: str = "") -> str:
    words = [*(text or "").strip().splitlines()[:1], *([f"one of {choices}"] if choices else [])]
    return "; ".join(words).replace("|", "\\|")


def main() -> int:
    """Rewrite the page in the working folder."""
    PAGE.write_text(page_with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
