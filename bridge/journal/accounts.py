"""Accounts of people who sign in, the browsers they are signed in with, and tokens of programs."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, insert, or_, select, update

from bridge.journal.database import take_turn, upsert
from bridge.journal.door import Door, as_struct
from bridge.journal.house import Entry, note
from bridge.journal.house_tables import account, api_token, browser
from bridge.journal.rows import JournalError


class Account(msgspec.Struct, frozen=True):
    """What is kept of somebody who signs in, beside what the settings say of them."""

    login: str
    password_hash: str | None = None
    """argon2id; None: the one of the settings file counts."""
    must_change: bool = False
    """The next sign-in leads to a new password."""
    disabled: bool = False
    failures: int = 0
    """Wrong passwords in a row."""
    locked_until: float | None = None
    last_at: float | None = None
    """Last sign-in."""
    last_from: str | None = None
    """Its address."""
    language: str | None = None
    """Of the pages; None: the browser's."""
    sounds: Mapping[str, bool] = {}
    """Which sounds the desk makes; one that is not named is on."""
    link_hash: str | None = None
    """Of the one-time link by which a new password can be set."""
    link_until: float | None = None


class Browser(msgspec.Struct, frozen=True):
    """One browser that is signed in."""

    hash: str
    """SHA-256 of its cookie, in hex."""
    login: str
    csrf: str
    until: float


class ApiToken(msgspec.Struct, frozen=True):
    """A program's token that was made here."""

    name: str
    hash: str
    """SHA-256 of the token, in hex."""
    scopes: tuple[str, ...]
    per_second: float
    numbers: tuple[str, ...]
    made_at: float
    made_by: str
    used_at: float | None = None
    revoked_at: float | None = None


class TokenExistsError(JournalError):
    """There has been a token of this name. Nothing has changed."""


class Accounts(Door):
    """People and programs that may come in."""

    async def accounts(self) -> dict[str, Account]:
        """Everybody of whom anything is kept, by login."""
        rows = await self._read(select(account), lambda row: as_struct(Account, row))
        return {row.login: row for row in rows}

    async def account(self, login: str) -> Account:
        """What is kept of a login; nothing yet for one that is new."""
        found = await self._first(select(account).where(account.c.login == login), lambda row: as_struct(Account, row))
        return found or Account(login)

    async def account_of_link(self, link_hash: str) -> Account | None:
        """Whose one-time link it is; None: nobody's."""
        return await self._first(select(account).where(account.c.link_hash == link_hash), lambda row: as_struct(Account, row))

    async def change_account(
        self, login: str, change: Callable[[Account], Account], *entries: Entry, sign_out: str | None = None
    ) -> Account:
        """Put what *change* makes of an account in its place, with the entries for the audit book; returns it.

        Args:
            login: Whose; of one that is new nothing is kept yet.
            change: Is given the account as it is then, whatever other nodes have done meanwhile. It may be called twice.
            entries: Written in the same transaction.
            sign_out: End the account's sessions in all browsers, except that with this hash (empty: none); None: they stay.
        """

        def write(connection: Connection) -> Account:
            take_turn(connection)
            there = connection.execute(select(account).where(account.c.login == login)).mappings().first()
            row = change(Account(login) if there is None else as_struct(Account, there))
            connection.execute(upsert(account, connection.dialect.name), msgspec.structs.asdict(row))
            if sign_out is not None:
                connection.execute(delete(browser).where(browser.c.login == login, browser.c.hash != sign_out))
            note(connection, entries)
            return row

        changed: Account = await self._write(write)
        return changed

    async def use_link(self, link_hash: str, password_hash: str, now: float, entry: Entry) -> str | None:
        """Set a password by a one-time link, which is used up; returns whose it is, None when the link does not hold any more."""

        def write(connection: Connection) -> str | None:
            holds = (account.c.link_hash == link_hash, account.c.link_until > now, account.c.disabled.is_(False))
            values = {
                "password_hash": password_hash,
                "must_change": False,
                "failures": 0,
                "locked_until": None,
                "link_hash": None,
                "link_until": None,
            }
            login: str | None = connection.execute(
                update(account).where(*holds).values(values).returning(account.c.login)
            ).scalar()
            if login is not None:
                connection.execute(delete(browser).where(browser.c.login == login))
                note(connection, [msgspec.structs.replace(entry, who=login, object=f"user {login}")])
            return login

        done: str | None = await self._write(write)
        return done

    # --- browsers ----------------------------------------------------------------------------------------------------

    async def browsers(self, now: float) -> list[Browser]:
        """Every browser that is signed in."""
        return await self._read(select(browser).where(browser.c.until > now), lambda row: as_struct(Browser, row))

    async def browser(self, hashed: str, now: float) -> Browser | None:
        """The browser whose cookie has this hash; None: it is not signed in (any more)."""
        query = select(browser).where(browser.c.hash == hashed, browser.c.until > now)
        return await self._first(query, lambda row: as_struct(Browser, row))

    async def keep_browser(self, row: Browser) -> None:
        """A browser has signed in."""

        def write(connection: Connection) -> None:
            connection.execute(insert(browser), msgspec.structs.asdict(row))

        await self._write(write)

    async def drop_browsers(self, *, login: str | None = None, hashes: tuple[str, ...] = (), until: float | None = None) -> None:
        """Sign out: everybody of *login*, these *hashes*, and whose time was over at *until*."""
        which: list[ColumnElement[bool]] = [browser.c.hash.in_(hashes)]
        if login is not None:
            which.append(browser.c.login == login)
        if until is not None:
            which.append(browser.c.until <= until)
        await self._do(delete(browser).where(or_(*which)))

    # --- programs ----------------------------------------------------------------------------------------------------

    async def api_tokens(self) -> list[ApiToken]:
        """Every token that was ever made here, by name."""
        return await self._read(select(api_token).order_by(api_token.c.name), lambda row: as_struct(ApiToken, row))

    async def add_api_token(self, row: ApiToken, entry: Entry) -> None:
        """Keep a new token.

        Raises:
            TokenExistsError: The name was used before; what stands in the books under it must go on meaning the same program.
        """

        def write(connection: Connection) -> TokenExistsError | None:
            take_turn(connection)
            if connection.execute(select(api_token.c.name).where(api_token.c.name == row.name)).first() is not None:
                return TokenExistsError(f"there has been a token {row.name}")
            connection.execute(insert(api_token), msgspec.structs.asdict(row))
            note(connection, [entry])
            return None

        await self._write(write)

    async def revoke_api_token(self, name: str, now: float, entry: Entry) -> bool:
        """The token opens nothing any more. False: there is no such one, or it was revoked before."""

        def write(connection: Connection) -> bool:
            there = (api_token.c.name == name, api_token.c.revoked_at.is_(None))
            if connection.execute(update(api_token).where(*there).values(revoked_at=now)).rowcount == 0:
                return False
            note(connection, [entry])
            return True

        return bool(await self._write(write))

    async def api_tokens_used(self, used: Mapping[str, float]) -> None:
        """When tokens were used, by name; the last time counts."""

        def write(connection: Connection) -> Any:
            for name, at in used.items():
                earlier = or_(api_token.c.used_at.is_(None), api_token.c.used_at < at)
                connection.execute(update(api_token).where(api_token.c.name == name, earlier).values(used_at=at))

        await self._write(write)
