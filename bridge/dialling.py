"""Which numbers may be called from here: what protects against bills nobody wanted, and against calling for help by mistake."""

import msgspec

from sms.numbers import is_premium, look_up


class DialPlan(msgspec.Struct, frozen=True):
    """The rules of the house."""

    country: str
    """ISO 3166 alpha-2; numbers without plus are read as dialled there."""
    may_call: tuple[str, ...] | None = None
    """Beginnings of numbers (`+1555`); None: every number of `country`."""


class NotCallableError(Exception):
    """The number may not be called. The message is fit to show."""


def callable_number(typed: str, plan: DialPlan) -> str:
    """The E.164 number that *typed* means.

    Emergency numbers are short codes, and whoever needs help has to be seen as who and where they are: those are never
    called for anybody.

    Raises:
        NotCallableError: It is no number, or may not be called.
    """
    known = look_up(typed.strip(), region=plan.country)
    if known.e164 is None:
        raise NotCallableError("That is not a telephone number.")
    if known.kind == "short_code":
        raise NotCallableError("Short numbers and emergency numbers are not called from here.")
    if is_premium(known.e164):
        raise NotCallableError("Numbers that cost extra are not called from here.")
    allowed = known.country == plan.country if plan.may_call is None else known.e164.startswith(plan.may_call)
    if not allowed:
        raise NotCallableError("Numbers there are not called from here (setting sip.may_call).")
    return known.e164
