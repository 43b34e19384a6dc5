"""Judges requests by Twilio's own OpenAPI description of its API (github.com/twilio/twilio-oai, `twilio_api_v2010.json`).

Made for forms, where general validators fail: they take repeated fields for one, and let fields pass that do not exist.
The rules that are prose in the description (a sender, something to send) stand here as code.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit


class Description:
    """An OpenAPI 3 document.

    Args:
        document: The parsed JSON.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._schemas: Mapping[str, Any] = document["components"]["schemas"]
        self._paths = [
            (
                re.compile("".join(f"(?P<{part[1:-1]}>[^/]+)" if part[:1] == "{" else re.escape(part) for part in _split(path))),
                item,
            )
            for path, item in document["paths"].items()
        ]

    def problems(self, method: str, path: str, fields: Sequence[tuple[str, str]]) -> list[str]:
        """What is wrong with a request, in words; empty when nothing is.

        Args:
            method: `POST`, `GET` or `DELETE`.
            path: Without a query.
            fields: The form of a POST, the query of anything else.
        """
        for pattern, item in self._paths:
            match = pattern.fullmatch(path)
            if match is not None and method.lower() in item:
                operation = item[method.lower()]
                parameters = operation.get("parameters", [])
                where = {parameter["name"]: parameter["schema"] for parameter in parameters if parameter["in"] == "path"}
                found = [
                    problem
                    for name, value in match.groupdict().items()
                    if name in where
                    for problem in self._value(name, where[name], [value])
                ]
                return found + self._fields(method, operation, fields)
        return [f"there is no {method} {path}"]

    def _fields(self, method: str, operation: Mapping[str, Any], fields: Sequence[tuple[str, str]]) -> list[str]:
        if method == "POST":
            schema = operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
            known, required = schema["properties"], schema.get("required", [])
        else:
            queries = [parameter for parameter in operation.get("parameters", []) if parameter["in"] == "query"]
            known = {parameter["name"]: parameter["schema"] for parameter in queries}
            required = [parameter["name"] for parameter in queries if parameter.get("required")]
        values = defaultdict(list)
        for name, value in fields:
            values[name].append(value)
        found = [f"{name} is missing" for name in required if name not in values]
        for name, given in values.items():
            found += self._value(name, known[name], given) if name in known else [f"{name} does not exist"]
        if operation.get("operationId") == "CreateMessage":
            found += _create_message(values)
        return found

    def _value(self, name: str, schema: Mapping[str, Any], given: Sequence[str]) -> list[str]:
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        if schema.get("type") == "array":
            return [problem for value in given for problem in self._value(name, schema["items"], [value])]
        if len(given) > 1:
            return [f"{name} is there {len(given)} times"]
        found = _typed(given[0], schema)
        match schema.get("format"):
            case "uri" if not (urlsplit(given[0]).scheme in {"http", "https"} and urlsplit(given[0]).hostname):
                found.append("is not an address")
            case "phone-number" if name in {"To", "FallbackFrom"} and not re.fullmatch(r"\+[1-9]\d{6,14}", given[0], re.ASCII):
                found.append("is not an E.164 number")
        return [f"{name} {problem}: {given[0]!r}" for problem in found]


def _typed(value: str, schema: Mapping[str, Any]) -> list[str]:
    """How *value* breaks its schema's type, set, pattern and length."""
    found = []
    match schema.get("type"):
        case "integer" if not re.fullmatch(r"-?\d+", value, re.ASCII):
            found.append("is not an integer")
        case "integer" if not schema.get("minimum", int(value)) <= int(value) <= schema.get("maximum", int(value)):
            found.append("is out of range")
        case "number" if not re.fullmatch(r"-?\d+(\.\d+)?", value, re.ASCII):
            found.append("is not a number")
        case "boolean" if value not in {"true", "false"}:
            found.append("is neither true nor false")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"is not one of {', '.join(schema['enum'])}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"does not match {schema['pattern']}")
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        found.append("has the wrong length")
    return found


def _create_message(values: Mapping[str, Sequence[str]]) -> list[str]:
    """What the description says in prose only."""
    found = []
    if not {"From", "MessagingServiceSid"} & set(values):
        found.append("neither From nor MessagingServiceSid")
    if not {"Body", "MediaUrl", "ContentSid"} & set(values):
        found.append("neither Body nor MediaUrl nor ContentSid")
    if len(values.get("Body", [""])[0]) > 1600:
        found.append("Body is longer than 1600 characters")
    if len(values.get("MediaUrl", [])) > 10:
        found.append("more than 10 of MediaUrl")
    if "SendAt" in values and not {"ScheduleType", "MessagingServiceSid"} <= set(values):
        found.append("SendAt without ScheduleType and MessagingServiceSid")
    period = values.get("ValidityPeriod", ["1"])[0]
    if period.isdecimal() and not 1 <= int(period) <= 36_000:
        found.append("ValidityPeriod is not between 1 and 36000")
    return found


def _split(path: str) -> list[str]:
    """*path* cut into its `{parameters}` and what stands between."""
    return [part for part in re.split(r"(\{\w+\})", path) if part]
