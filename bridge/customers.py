"""What the journal and the settings know of a customer's number."""

from collections.abc import Callable

from bridge import events as e
from bridge.conversation import INTRODUCING
from bridge.floor import Customer
from bridge.journal import Journal, Suppression
from bridge.session import Suspicion
from bridge.settings import Settings
from sms.numbers import look_up

INTRODUCED_FOR = 180 * 86_400.0
"""Seconds after a text of ours said who we are and how to stop us, during which we need not say so again."""


class Customers:
    """Looks numbers up.

    Args:
        journal: Who is blocked, what they are called, what they have agreed to.
        settings: As they are now.
        clock: Seconds since the epoch.
    """

    def __init__(self, journal: Journal, settings: Callable[[], Settings], clock: Callable[[], float]) -> None:
        self._journal = journal
        self._settings = settings
        self._clock = clock

    async def look_up(self, number: str | None, ours: str) -> Customer:
        """What is known of a number and one of ours; *number* is None when it was withheld."""
        settings, journal = self._settings(), self._journal
        known = look_up(number, region=settings.country)
        customer = Customer(known)
        if known.e164 is None:
            return customer
        block = await journal.blocked(known.e164)
        if known.e164 in settings.sms.blocked:
            customer.blocked = "blocked in the settings"
        elif block is not None:
            customer.blocked = block.reason or "blocked"
        contact = await journal.contact(known.e164)
        if contact is not None:
            customer.name, customer.language = contact.name, contact.language
        opt_out = await journal.suppression(known.e164, ours)
        customer.opted_out = opt_out is not None
        customer.suspected = None if opt_out is None else await self._suspicion(opt_out)
        customer.introduced = await journal.introduced(known.e164, INTRODUCING, self._clock() - INTRODUCED_FOR)
        granted = {row.purpose: row.granted for row in await journal.consents(known.e164) if row.sender in {None, ours}}
        customer.consent = frozenset(purpose for purpose, yes in granted.items() if yes)
        customer.refused = frozenset(purpose for purpose, yes in granted.items() if not yes)
        return customer

    async def _suspicion(self, opt_out: Suppression) -> Suspicion | None:
        """Words that no agent has judged before their conversation was over; None: the opt-out is certain."""
        if not opt_out.provisional:
            return None
        message = await self._journal.message(e.MessageId(opt_out.evidence.removeprefix("message ")))
        words = "" if message is None else message.body
        return Suspicion(number=opt_out.number, evidence=opt_out.evidence, words=words, at=opt_out.at)
