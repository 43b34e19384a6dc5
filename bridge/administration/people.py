"""Accounts of people: passwords, locks, one-time links, browsers. Who they are and what they may do stands in the settings."""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec
import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bridge.administration.passwords import LONGEST, SHORTEST, lock_for, too_weak
from bridge.events import AgentId
from bridge.journal import Journal, JournalError
from bridge.journal.accounts import Account, Browser
from bridge.journal.house import Entry
from bridge.news import News
from bridge.settings import AgentSettings, Settings
from bridge.web.console.agents import SignedIn, SignIns, cookie_hash
from bridge.web.console.words import gettext as _
from bridge.web.ports_admin import AdminRefusedError, By, Person, TurnedAway, Welcome

log = structlog.get_logger()

LOOK_EVERY = 5.0
"""Seconds between two looks at what was changed elsewhere, for the case that nobody told."""
TOPIC = "people"
"""What other nodes are told of: an account has changed, or somebody has signed out."""
LINK_FOR = 86_400.0
"""Seconds for which a one-time link can be used."""
MOST_STRANGERS = 10_000
"""Logins of nobody whose wrong tries are counted, as those of somebody are: who tries is not to learn which exist."""
MOST_UNKNOWN = 10_000
"""Cookies of nobody that are remembered, so that nobody makes us ask the journal for each of thousands of requests."""
STRANGERS_EVERY = 60.0
"""Seconds between two entries of the book about logins of nobody: whoever tries thousands is not to fill it."""
_NOBODY = PasswordHasher().hash("nobody")
"""Checked for logins that do not exist, so that a wrong name takes as long as a wrong password."""


class People:
    """Implements `bridge.web.ports_admin.People`: the local authenticator, and what is kept of everybody.

    A password that was chosen here counts; before that, the one of the settings file does.

    Args:
        journal: Keeps accounts and browsers.
        settings: Those that hold: who there is.
        clock: Seconds since the epoch.
        spawn: Lets something run beside everything else.
        session_lifetime: Seconds until somebody has to sign in again.
        left: Is told of a login that may not stay signed in; desks look again then.
        news: How other nodes are told, and tell; None: there are none.
    """

    def __init__(
        self,
        journal: Journal,
        settings: Callable[[], Settings],
        *,
        clock: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        session_lifetime: float,
        left: Callable[[AgentId], None] = lambda _login: None,
        news: News | None = None,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._clock = clock
        self._spawn = spawn
        self._left = left
        self._news = news
        self._hasher = PasswordHasher()
        self._accounts: dict[str, Account] = {}
        self._strangers: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._stranger_noted = -STRANGERS_EVERY
        self._unknown: OrderedDict[str, None] = OrderedDict()
        """Hashes of cookies that are nobody's."""
        self._writing: dict[asyncio.Future[None], str] = {}
        """Hashes of cookies that have come or gone and of which the journal does not know yet."""
        self.sign_ins = SignIns(session_lifetime, lambda: secrets.token_urlsafe(32), self._kept)
        if news is not None:
            news.hear(TOPIC, self._told)

    async def load(self) -> None:
        """Know again what was known before a restart."""
        self._accounts = await self._journal.accounts()
        for browser in await self._journal.browsers(self._clock()):
            self.sign_ins.resume(browser.hash, SignedIn(AgentId(browser.login), browser.csrf, browser.until))

    async def run(self, started: asyncio.Event) -> None:
        """Look now and then what the command line, or another server, has changed; until cancelled."""
        started.set()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.look()
            except JournalError:
                log.warning("accounts.unknown", retriable=True)

    async def look(self) -> None:
        """Know what was changed elsewhere; who was barred or signed out there is signed out here."""
        known = self.sign_ins.hashes() - set(self._writing.values())  # who is about to sign in is not there yet
        self._accounts = await self._journal.accounts()
        there = {browser.hash for browser in await self._journal.browsers(self._clock())}
        for gone in self.sign_ins.drop(known - there):
            self._left(gone)
        for login, account in self._accounts.items():
            if account.disabled:
                self._end_sessions(login)

    async def _told(self, _about: str) -> None:
        await self.look()

    async def _tell(self) -> None:
        if self._news is not None:
            await self._news.tell(TOPIC)

    async def recall(self, cookie: str) -> None:
        """Know a browser that has signed in at another node."""
        hashed = cookie_hash(cookie)
        if hashed in self._unknown or self.sign_ins.find(cookie, now=self._clock()) is not None:
            return
        browser = await self._journal.browser(hashed, self._clock())
        if browser is not None:
            self.sign_ins.resume(hashed, SignedIn(AgentId(browser.login), browser.csrf, browser.until))
            return
        self._unknown[hashed] = None
        if len(self._unknown) > MOST_UNKNOWN:
            self._unknown.popitem(last=False)

    async def settled(self) -> None:
        """Return when every node can know who has signed in or out here."""
        if self._writing:
            await asyncio.wait(list(self._writing))

    def _kept(self, hashed: str, signed_in: SignedIn | None) -> None:
        done = asyncio.get_running_loop().create_future()
        self._writing[done] = hashed
        self._spawn(self._keep(hashed, signed_in, done))

    async def _keep(self, hashed: str, signed_in: SignedIn | None, done: asyncio.Future[None]) -> None:
        try:
            if signed_in is None:
                await self._journal.drop_browsers(hashes=(hashed,))
                await self._tell()
            else:
                await self._journal.keep_browser(Browser(hashed, signed_in.agent, signed_in.csrf, signed_in.until))
        finally:
            del self._writing[done]
            if not done.done():
                done.set_result(None)

    # --- who somebody is

    async def authenticate(self, login: str, password: str, by: By) -> Welcome | TurnedAway:
        """One try. Tries are to come one after the other: each changes what the next one meets."""
        now = self._clock()
        known = self._known(login)
        account = Account(login) if known is None else await self._journal.account(login)  # another node may have had tries
        failures, until = (account.failures, account.locked_until) if known else self._strangers.get(login, (0, None))
        if until is not None and now < until:
            await self._note_refusal(by, "sign_in.locked", login if known else None, None)
            return TurnedAway("locked", until)
        hashed = self._hash_of(known, account)
        right = await self._matches(hashed or _NOBODY, password)
        if known is not None and hashed is not None and right and not account.disabled:
            await self._save(
                login,
                lambda there: msgspec.structs.replace(there, failures=0, locked_until=None, last_at=now, last_from=by.origin),
                self._entry(by, "sign_in", login),
                tell=False,
            )
            return Welcome(login)
        if known is None:
            failures += 1
            until = _locked_until(failures, now)
            self._strangers[login] = (failures, until or 0.0)
            self._strangers.move_to_end(login)
            if len(self._strangers) > MOST_STRANGERS:
                self._strangers.popitem(last=False)
        else:
            account = await self._save(
                login,
                lambda there: msgspec.structs.replace(
                    there, failures=there.failures + 1, locked_until=_locked_until(there.failures + 1, now)
                ),
                tell=False,
            )
            failures, until = account.failures, account.locked_until
        told = {"failures": failures, "locked_until": until}
        await self._note_refusal(by, "sign_in.refused", login if known else None, told)
        return TurnedAway("wrong")

    async def _note_refusal(self, by: By, action: str, login: str | None, after: object) -> None:
        """For the book. Who tried is not known; and what was typed as a login of nobody may be a password."""
        now = self._clock()
        if login is None:
            if now - self._stranger_noted < STRANGERS_EVERY:
                return
            self._stranger_noted, after = now, None
        await self._journal.note(Entry(now, "?", action, f"user {login or '?'}", by.origin, None, after))

    async def _matches(self, hashed: str, password: str) -> bool:
        try:
            return await asyncio.to_thread(self._hasher.verify, hashed, password[:LONGEST])
        except (VerificationError, InvalidHashError):
            return False

    def _known(self, login: str) -> AgentSettings | None:
        return next((agent for agent in self._settings().agents if agent.id == login), None)

    @staticmethod
    def _hash_of(known: AgentSettings | None, account: Account) -> str | None:
        secret = None if known is None else known.password_hash
        return account.password_hash or (None if secret is None else secret.get_secret_value())

    def must_change(self, login: str) -> bool:
        """Whether they are to choose a password of their own before anything else."""
        account = self._accounts.get(login)
        return account is not None and account.must_change

    async def signed_out(self, login: str, by: By) -> None:
        """For the book."""
        await self._journal.note(self._entry(by, "sign_out", login))

    # --- passwords

    async def change_password(self, login: str, old: str, new: str, browser: str | None, by: By) -> None:
        """Their own doing."""
        known, account = self._known(login), await self._journal.account(login)
        hashed = self._hash_of(known, account)
        if hashed is None or not await self._matches(hashed, old):
            await self._journal.note(self._entry(by, "password.refused", login))
            raise AdminRefusedError(_("The password you have now is not right."))
        if new == old:
            raise AdminRefusedError(_("That is the password you have now."))
        self._strong(new, login)
        fresh = await self._hashed(new)
        self.sign_ins.close_all(AgentId(login), but=browser)
        await self._save(
            login,
            lambda there: msgspec.structs.replace(there, password_hash=fresh, must_change=False, link_hash=None, link_until=None),
            self._entry(by, "password.changed", login),
            sign_out=browser or "",
        )
        self._left(AgentId(login))

    async def make_link(self, login: str, by: By) -> str:
        """A one-time link's secret."""
        if self._known(login) is None:
            raise AdminRefusedError(_("There is nobody of that name."))
        secret = secrets.token_urlsafe(32)
        until = self._clock() + LINK_FOR
        await self._save(
            login,
            lambda there: msgspec.structs.replace(there, link_hash=_hash(secret), link_until=until),
            self._entry(by, "password.link_made", login),
        )
        return secret

    async def link_of(self, secret: str) -> Person | None:
        """Whose link it is."""
        account = await self._journal.account_of_link(_hash(secret))
        if account is None or account.disabled or (account.link_until or 0.0) <= self._clock():
            return None
        return await self.person(account.login)

    async def use_link(self, secret: str, password: str, by: By) -> str:
        """Set the password."""
        person = await self.link_of(secret)
        if person is None:
            raise AdminRefusedError(_("This link has been used, or is too old. Ask for a new one."))
        self._strong(password, person.settings.id)
        entry = self._entry(by, "password.set_by_link", person.settings.id)
        login = await self._journal.use_link(_hash(secret), await self._hashed(password), self._clock(), entry)
        if login is None:
            raise AdminRefusedError(_("This link has been used, or is too old. Ask for a new one."))
        self._accounts[login] = await self._journal.account(login)
        self.sign_ins.close_all(AgentId(login))
        self._left(AgentId(login))
        await self._tell()
        return login

    async def set_password(self, login: str, password: str, by: By, *, must_change: bool) -> None:
        """From this machine's command line."""
        self._strong(password, login)
        fresh = await self._hashed(password)
        await self._save(
            login,
            lambda there: msgspec.structs.replace(
                there, password_hash=fresh, must_change=must_change, failures=0, locked_until=None
            ),
            self._entry(by, "password.set", login),
            sign_out="",
        )

    @staticmethod
    def _strong(password: str, login: str) -> None:
        match too_weak(password, login):
            case "short":
                raise AdminRefusedError(_("At least %(n)s characters, please. A sentence is easy to remember.", n=SHORTEST))
            case "long":
                raise AdminRefusedError(_("At most %(n)s characters, please.", n=LONGEST))
            case "common":
                raise AdminRefusedError(_("That is among the first passwords that anybody would try."))
            case "plain":
                raise AdminRefusedError(_("That has too few different characters."))

    async def _hashed(self, password: str) -> str:
        return await asyncio.to_thread(self._hasher.hash, password)

    # --- what an administrator does

    async def people(self) -> list[Person]:
        """Everybody, as in the settings."""
        return [self._person(agent) for agent in self._settings().agents]

    async def person(self, login: str) -> Person | None:
        """One of them."""
        known = self._known(login)
        return None if known is None else self._person(known)

    def _person(self, known: AgentSettings) -> Person:
        account = self._accounts.get(known.id, Account(known.id))
        return Person(known, account, self._hash_of(known, account) is not None)

    async def set_disabled(self, login: str, disabled: bool, by: By) -> None:
        """Bar somebody, or let them in again."""
        if disabled and login == by.who:
            raise AdminRefusedError(_("You cannot bar yourself."))
        await self._save(
            login,
            lambda there: msgspec.structs.replace(there, disabled=disabled),
            self._entry(by, "user.barred" if disabled else "user.let_in", login),
            sign_out="" if disabled else None,
        )
        if disabled:
            self._end_sessions(login)

    async def unlock(self, login: str, by: By) -> None:
        """End a lock after wrong passwords."""
        await self._save(
            login,
            lambda there: msgspec.structs.replace(there, failures=0, locked_until=None),
            self._entry(by, "user.unlocked", login),
        )

    async def sign_out_everywhere(self, login: str, by: By) -> None:
        """End their sessions in all browsers."""
        await self._save(login, lambda there: there, self._entry(by, "user.signed_out", login), sign_out="")
        self._end_sessions(login)

    async def set_preferences(self, login: str, language: str | None, sounds: Mapping[str, bool]) -> None:
        """Language and sounds; nothing for the book."""
        await self._save(login, lambda there: msgspec.structs.replace(there, language=language, sounds=dict(sounds)))

    def _end_sessions(self, login: str) -> None:
        if self.sign_ins.has(AgentId(login)):
            self.sign_ins.close_all(AgentId(login))
            self._left(AgentId(login))

    async def _save(
        self,
        login: str,
        change: Callable[[Account], Account],
        *entries: Entry,
        sign_out: str | None = None,
        tell: bool = True,
    ) -> Account:
        """See `Accounts.change_account`; *tell*: other nodes have to know it before they look by themselves."""
        account = await self._journal.change_account(login, change, *entries, sign_out=sign_out)
        self._accounts[login] = account
        if tell:
            await self._tell()
        return account

    def _entry(self, by: By, action: str, login: str, *, after: object = None) -> Entry:
        return Entry(self._clock(), by.who, action, f"user {login}", by.origin, None, after)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _locked_until(failures: int, now: float) -> float | None:
    """Until when nobody may try after so many wrong passwords in a row; None: the next one may come at once."""
    return now + lock_for(failures) if lock_for(failures) else None
