"""What a provider's error code means: whose fault, whether to try again, what to do. The table is `errors.yaml`."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias

import msgspec
from ruamel.yaml import YAML

from sms.provider import ErrorClass

Retry: TypeAlias = Literal["never", "once", "later"]
"""`once`: at most one more try, much later, and only while somebody still waits for it."""
Action: TypeAlias = Literal["retry", "suppress", "landline", "fix_registration", "failover", "edit", "drop"]
"""What the server does about it by itself; `errors.yaml` says what each means."""


class Diagnosis(msgspec.Struct, frozen=True):
    """What an error code means."""

    error_class: ErrorClass
    retry: Retry
    action: Action
    advice: str
    """What is left for people to do."""
    explanation: str
    known: bool
    """False when the code is not in the table and its range decided."""

    @property
    def blames_sender(self) -> bool:
        """The next text of the same sender will probably fare alike, whoever it is for."""
        return self.action == "fix_registration" or self.error_class == "account"


def diagnose(provider: str, code: str | int | None) -> Diagnosis:
    """What *code* of *provider*, or a word of our own, means; an unlisted code is taken for what its range mostly is."""
    own = _table()["own"].get(code)
    if own is not None:
        return Diagnosis(
            error_class="unknown",
            retry="never",
            action="drop",
            advice=own["advice"],
            explanation=own["explanation"],
            known=True,
        )
    rules = _table()["providers"].get(provider, {"codes": {}, "ranges": []})
    number = int(code) if code is not None and str(code).isdecimal() else None
    for group, codes in rules["codes"].items():
        if number in codes:
            return _diagnosis(group, codes[number], known=True)
    for span in rules["ranges"]:
        if number is not None and span["from"] <= number <= span["to"]:
            return _diagnosis(span["group"], f"Code {number} is not in the table.", known=False)
    return Diagnosis(
        error_class="unknown",
        retry="never",
        action="drop",
        advice="Look the code up and add it to the table.",
        explanation=f"Code {code} is not in the table.",
        known=False,
    )


def _diagnosis(group: str, explanation: str, *, known: bool) -> Diagnosis:
    rule = _table()["groups"][group]
    return Diagnosis(
        error_class=rule.get("class", group),
        retry=rule["retry"],
        action=rule["action"],
        advice=rule["advice"],
        explanation=explanation,
        known=known,
    )


@cache
def _table() -> Mapping[str, Any]:
    table: Mapping[str, Any] = YAML(typ="safe", pure=True).load(files("sms").joinpath("errors.yaml").read_text("utf-8"))
    return table
