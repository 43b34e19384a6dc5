"""A flow as a drawing, and the language as a JSON Schema. Both are made from the structs of `model`."""

import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from ivr_flows.expressions import Expression
from ivr_flows.model import ACTIONS, AnyAction, Choose, Flow, FlowFile
from ivr_flows.shapes import Part, choices, is_part, marker, shapes, walk

SCHEMA_ID = "https://sidetone.invalid/schemas/flow-1.json"


def graph(flow: Flow) -> str:
    """The states and what leads from one to the other, as a Mermaid flowchart."""
    lines = ["flowchart TD", f"  start((call)) --> {_id(flow.start)}"]
    for state, actions in flow.states.items():
        names = " · ".join(action.NAME for action in actions)
        lines.append(f'  {_id(state)}["<b>{state}</b><br/>{names}"]')
        for action in actions:
            for label, target in _ways(action):
                lines.append(f'  {_id(state)} -- "{label}" --> {_id(target)}')
        if any(action.NAME in {"hangup", "end"} for action in actions):
            reason = next(str(getattr(action, "reason", "")) for action in actions if action.NAME in {"hangup", "end"})
            lines.append(f'  {_id(state)} -- "{reason}" --> done((end))')
    return "\n".join(lines) + "\n"


def _id(state: str) -> str:
    return "s_" + re.sub(r"\W", "_", state)


def _ways(action: AnyAction) -> Iterator[tuple[str, str]]:
    """What leads where: an outcome, a key or a condition, and the state."""
    if isinstance(action, Choose):
        for branch in action.branches:
            condition = branch.when.source if branch.when else "otherwise"
            yield condition.replace('"', "'"), str(branch.goto or branch.otherwise)
        return
    for path, kind, target in walk(type(action), action):
        if kind == "state":
            names = [str(part) for part in path if part not in {action.NAME, "goto", "then", "state"}]
            yield (f"key {names[-1]}" if "keys" in names else " ".join(names) or action.NAME), str(target)


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a flow file, for editors: completion, hover, checks while typing."""
    definitions: dict[str, Any] = {}
    root = _part(FlowFile, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "Sidetone call flow",
        **root,
        "$defs": definitions,
    }


_FORMS: Mapping[str, dict[str, Any]] = {
    "duration": {"type": "string", "pattern": r"^\d+(\.\d+)?[smhd]$"},
    "key": {"type": "string", "pattern": r"^[0-9*#]$"},
    "number": {"type": "string", "pattern": r"^\+[1-9]\d{6,14}$"},
    "digits": {"type": ["string", "integer"]},
}
_TEXT = {"type": ["string", "number", "boolean"]}
"""Every scalar is a text to us, whatever an editor takes it for."""


def _any(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    options = choices(hint)
    if all(is_part(option) and option.NAME for option in options):
        return _steps(options, definitions)
    kind = options[0]
    origin = typing.get_origin(kind)
    if is_part(kind):
        return _part(kind, definitions)
    if origin is tuple:
        return {"type": "array", "items": _any(typing.get_args(kind)[0], definitions)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _any(typing.get_args(kind)[1], definitions)}
    if origin is Literal:
        values = list(typing.get_args(kind))
        return {"enum": values + [int(value) for value in values if value.isdecimal()]}
    if kind is bool:
        return {"type": "boolean"}
    if kind is Expression:
        return {**_TEXT, "description": "an expression"}
    return dict(_FORMS.get(marker(kind), _TEXT))


def _steps(options: tuple[type[Part], ...], definitions: dict[str, Any]) -> dict[str, Any]:
    """`{name: fields}` for each kind of step, or the bare name where no field is required."""
    bare = [option.NAME for option in options if not any(shape.required for shape in shapes(option))]
    steps = {option.NAME: _part(option, definitions) for option in options}
    alternatives: list[dict[str, Any]] = [
        {"type": "object", "properties": {name: form}, "required": [name], "additionalProperties": False}
        for name, form in steps.items()
    ]
    return {"oneOf": [*alternatives, {"enum": bare}] if bare else alternatives}


def _part(kind: type[Part], definitions: dict[str, Any]) -> dict[str, Any]:
    name = kind.__name__
    if name not in definitions:
        definitions[name] = {}
        definitions[name] = _definition(kind, definitions)
    return {"$ref": f"#/$defs/{name}"}


def _definition(kind: type[Part], definitions: dict[str, Any]) -> dict[str, Any]:
    about = (kind.__doc__ or "").strip().splitlines()[0]
    fields = shapes(kind)
    if kind.WHOLE:
        whole = next(shape for shape in fields if shape.name == kind.WHOLE)
        return {**_any(whole.hint, definitions), "description": about}
    mapping: dict[str, Any] = {
        "type": "object",
        "description": about,
        "properties": {shape.name: _any(shape.hint, definitions) for shape in fields},
        "required": [shape.name for shape in fields if shape.required],
        "additionalProperties": False,
    }
    forms: list[dict[str, Any]] = [mapping]
    if kind.SHORT:
        short = next(shape for shape in fields if shape.name == kind.SHORT)
        forms.append(_any(short.hint, definitions))
    if kind.NAME in ACTIONS and not mapping["required"]:
        forms.append({"type": "null"})
    return mapping if len(forms) == 1 else {"anyOf": forms, "description": about}
