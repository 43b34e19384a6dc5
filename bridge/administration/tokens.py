"""Tokens of programs that were made here: shown once, kept as hashes, revoked at once."""

import asyncio
import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from typing import get_args

import structlog

from bridge.journal import Journal, JournalError
from bridge.journal.accounts import ApiToken, TokenExistsError
from bridge.journal.house import Entry
from bridge.news import News
from bridge.settings import Scope, Settings
from bridge.web.api.keys import ADMIN, Key, keys_of
from bridge.web.console.words import gettext as _
from bridge.web.ports_admin import AdminRefusedError, By

log = structlog.get_logger()

WRITE_EVERY = 30.0
"""Seconds between two notes of when tokens were used, and between two looks whether another server has made or revoked some."""
TOPIC = "tokens"
"""What other nodes are told of: a token was made or revoked."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Tokens:
    """Implements `bridge.web.ports_admin.Tokens`.

    Args:
        journal: Keeps them.
        settings: Those that hold: tokens of the file, our numbers.
        clock: Seconds since the epoch.
        let_in: Is told of every token that may come in, whenever they are others.
        used: Gives and forgets when tokens were used, by name.
        news: How other nodes are told, and tell; None: there are none.
    """

    def __init__(
        self,
        journal: Journal,
        settings: Callable[[], Settings],
        *,
        clock: Callable[[], float],
        let_in: Callable[[tuple[Key, ...]], None],
        used: Callable[[], dict[str, float]],
        news: News | None = None,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._let_in = let_in
        self._used = used
        self._news = news
        if news is not None:
            news.hear(TOPIC, self._told)

    async def _told(self, _about: str) -> None:
        await self.load()

    async def _changed(self) -> None:
        await self.load()
        if self._news is not None:
            await self._news.tell(TOPIC)

    async def load(self) -> None:
        """Let in who may come."""
        made = [
            Key(
                token.name,
                bytes.fromhex(token.hash),
                frozenset(scope for scope in token.scopes if scope in get_args(Scope)),  # type: ignore[misc]
                token.per_second,
                frozenset(token.numbers),
            )
            for token in await self._journal.api_tokens()
            if token.revoked_at is None
        ]
        self._let_in((*keys_of(self._settings()), *made))

    async def run(self, started: asyncio.Event) -> None:
        """Write down when tokens were used, until cancelled."""
        started.set()
        while True:
            await asyncio.sleep(WRITE_EVERY)
            try:
                if used := self._used():
                    await self._journal.api_tokens_used(used)
                await self.load()
            except JournalError:
                log.warning("tokens.unknown", retriable=True)

    async def tokens(self) -> list[ApiToken]:
        """Those made here, by name."""
        return await self._journal.api_tokens()

    async def make_token(self, name: str, scopes: Sequence[str], per_second: float, numbers: Sequence[str], by: By) -> str:
        """A new token."""
        settings = self._settings()
        if _NAME.fullmatch(name) is None:
            raise AdminRefusedError(_("A name has small letters, digits and underscores, and begins with a letter."))
        if name == ADMIN or name in {key.name for key in settings.api.keys}:
            raise AdminRefusedError(_("The settings file has a token of that name."))
        if not scopes or not set(scopes) <= set(get_args(Scope)):
            raise AdminRefusedError(_("Choose what the program may do."))
        if not 0 < per_second <= 1000:
            raise AdminRefusedError(_("Requests a second: more than 0, at most 1000."))
        if unknown := set(numbers) - {number.number for number in settings.numbers}:
            raise AdminRefusedError(_("%(number)s is no number of ours.", number=min(unknown)))
        secret = f"st_{secrets.token_urlsafe(32)}"
        row = ApiToken(
            name, hashlib.sha256(secret.encode()).hexdigest(), tuple(scopes), per_second, tuple(numbers), self._clock(), by.who
        )
        after = {"scopes": row.scopes, "per_second": per_second, "numbers": row.numbers}
        try:
            await self._journal.add_api_token(row, self._entry(by, "token.made", name, after))
        except TokenExistsError as error:
            raise AdminRefusedError(_("There has been a token of that name. Names are not used twice.")) from error
        await self._changed()
        return secret

    async def revoke_token(self, name: str, by: By) -> None:
        """It opens nothing any more."""
        if not await self._journal.revoke_api_token(name, self._clock(), self._entry(by, "token.revoked", name, None)):
            raise AdminRefusedError(_("There is no such token, or it was revoked before."))
        await self._changed()

    def _entry(self, by: By, action: str, name: str, after: object) -> Entry:
        return Entry(self._clock(), by.who, action, f"token {name}", by.origin, None, after)


class Book:
    """Implements `bridge.web.ports_admin.Book`: what others write into the audit book, and what is read from it.

    Args:
        journal: Keeps it.
        clock: Seconds since the epoch.
    """

    def __init__(self, journal: Journal, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._journal = journal
        self.audit = journal.audit

    async def note(self, by: By, action: str, of: str, *, before: object = None, after: object = None) -> None:
        """Write something down."""
        await self._journal.note(Entry(self._clock(), by.who, action, of, by.origin, before, after))
