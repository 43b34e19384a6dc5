"""Numbers whose calls and texts are not taken."""

from collections.abc import Callable

from bridge.journal import BlockRow, Journal, Unit
from bridge.journal.house import Entry
from bridge.settings import Settings
from bridge.web.console.words import gettext as _
from bridge.web.ports_admin import AdminRefusedError, By
from sms.numbers import look_up


class Blocklist:
    """Implements `bridge.web.ports_admin.Blocklist`.

    Args:
        journal: Keeps the list.
        settings: Those that hold.
        clock: Seconds since the epoch.
    """

    def __init__(self, journal: Journal, settings: Callable[[], Settings], *, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self.blocked = journal.blocklist

    async def block(self, written: str, reason: str, by: By) -> str:
        """Block a number."""
        number = look_up(written.strip(), region=self._settings().country).e164
        if number is None:
            raise AdminRefusedError(_("That is no telephone number."))
        now, before = self._clock(), await self._journal.blocked(number)
        await self._journal.commit(Unit(block=[BlockRow(number=number, reason=reason.strip()[:200], actor=by.who, at=now)]))
        was = None if before is None else before.reason
        await self._journal.note(Entry(now, by.who, "number.blocked", f"number {number}", by.origin, was, reason.strip()[:200]))
        return number

    async def unblock(self, number: str, by: By) -> None:
        """Take it again."""
        before = await self._journal.blocked(number)
        if before is None:
            raise AdminRefusedError(_("This number is not on the list."))
        await self._journal.commit(Unit(unblock=[number]))
        await self._journal.note(Entry(self._clock(), by.who, "number.unblocked", f"number {number}", by.origin, before.reason))
