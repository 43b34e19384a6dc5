"""What the pages of the administration know of the rest of the server."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from bridge.journal import BlockRow
from bridge.journal.accounts import Account, ApiToken
from bridge.journal.house import Draft, Entry, Revision
from bridge.published import Change
from bridge.settings import AgentSettings, Problem, Settings
from bridge.web.console.agents import SignIns


class By(msgspec.Struct, frozen=True):
    """Who does something, and from where; for the audit book."""

    who: str
    origin: str | None = None
    """An address; None: this machine's command line."""


class AdminRefusedError(Exception):
    """It cannot be done; nothing has changed. The message is for people."""


class InvalidError(AdminRefusedError):
    """A document of settings has problems; nothing has changed.

    Args:
        problems: All of them.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(problem.what for problem in problems))
        self.problems = tuple(problems)


class Checked(msgspec.Struct, frozen=True):
    """What a document would do."""

    problems: tuple[Problem, ...]
    """None of them: it can be published."""
    changes: tuple[Change, ...]
    """Against what holds now; empty while there are problems."""


class Standing(msgspec.Struct, frozen=True):
    """Which settings hold."""

    revision: int
    """0: those of the file."""
    text: str
    """As a document."""
    newest: int
    """The newest that was published; it is not in force yet while it is another than `revision`."""
    waits_for: str = ""
    """Why it is not, in words."""


class Publishing(Protocol):
    """Settings that change while the server runs."""

    @property
    def settings(self) -> Settings:
        """Those that hold."""

    @property
    def standing(self) -> Standing:
        """Which those are."""

    async def draft(self) -> Draft | None:
        """What is worked on; None: nothing."""

    async def check(self, text: str) -> Checked:
        """What a document would do."""

    async def save_draft(self, text: str, over: int | None, by: By) -> Draft:
        """Keep a draft, sound or not, over the one of version *over* (None: none is there). AdminRefusedError: it is another."""

    async def edit(self, change: Callable[[str], str], by: By) -> None:
        """Change the draft, or begin one; InvalidError when that would not be sound."""

    async def drop_draft(self, by: By) -> None:
        """Forget the draft."""

    async def publish(self, version: int, note: str, by: By) -> int:
        """Let the draft of *version* hold from now on; gives the revision. InvalidError, AdminRefusedError."""

    async def roll_back(self, to: int, note: str, by: By) -> int:
        """Let revision *to* (0: the file) hold again, as a new revision. InvalidError, AdminRefusedError."""

    async def revisions(self, limit: int, before: int | None = None) -> list[Revision]:
        """The newest first."""

    async def revision(self, n: int) -> Revision | None:
        """None: there is no such one."""

    async def changes_of(self, n: int) -> tuple[Change, ...]:
        """What revision *n* changed against the one before it; empty where that cannot be said any more."""


class Person(msgspec.Struct, frozen=True):
    """Somebody who signs in."""

    settings: AgentSettings
    account: Account
    has_password: bool


class Welcome(msgspec.Struct, frozen=True):
    """Somebody has shown who they are."""

    login: str
    """A user of the settings."""


class TurnedAway(msgspec.Struct, frozen=True):
    """Somebody has not."""

    why: Literal["wrong", "locked"]
    """`wrong`: no more is said, also when the user is barred. `locked`: after too many tries, of a user or of nobody."""
    until: float | None = None
    """When the next try counts; with `locked`."""


class Authenticator(Protocol):
    """Tells who somebody is, by login and password. Others than the local one may ask a directory instead."""

    async def authenticate(self, login: str, password: str, by: By) -> Welcome | TurnedAway:
        """One try, which takes as long for a wrong login as for a wrong password. It is written into the audit book."""


class People(Authenticator, Protocol):
    """Accounts of people."""

    sign_ins: SignIns
    """Who is signed in at which browser."""

    async def recall(self, cookie: str) -> None:
        """Know a browser that has signed in at another node. JournalError: it cannot be looked up."""

    async def settled(self) -> None:
        """Return when every node can know who has signed in or out here."""

    def must_change(self, login: str) -> bool:
        """Whether they are to choose a password of their own before anything else."""

    async def signed_out(self, login: str, by: By) -> None:
        """They have; for the book."""

    async def people(self) -> list[Person]:
        """Everybody, as in the settings."""

    async def person(self, login: str) -> Person | None:
        """None: there is nobody of that name."""

    async def make_link(self, login: str, by: By) -> str:
        """A one-time link's secret, by which they set a password; the sessions they have stay. AdminRefusedError."""

    async def link_of(self, secret: str) -> Person | None:
        """Whose link it is; None: nobody's, or used, or too old."""

    async def use_link(self, secret: str, password: str, by: By) -> str:
        """Set the password; gives the login. AdminRefusedError: the password is too weak, or the link does not hold."""

    async def change_password(self, login: str, old: str, new: str, browser: str | None, by: By) -> None:
        """Their own doing; other browsers than *browser* are signed out. AdminRefusedError."""

    async def set_disabled(self, login: str, disabled: bool, by: By) -> None:
        """Bar somebody, or let them in again. AdminRefusedError."""

    async def unlock(self, login: str, by: By) -> None:
        """End a lock after wrong passwords."""

    async def sign_out_everywhere(self, login: str, by: By) -> None:
        """End their sessions in all browsers."""

    async def set_preferences(self, login: str, language: str | None, sounds: Mapping[str, bool]) -> None:
        """Language of the pages (None: the browser's), and which sounds the desk makes."""


class Tokens(Protocol):
    """Programs that may use the API."""

    async def tokens(self) -> list[ApiToken]:
        """Those made here, by name."""

    async def make_token(self, name: str, scopes: Sequence[str], per_second: float, numbers: Sequence[str], by: By) -> str:
        """A new token, which is shown once. AdminRefusedError."""

    async def revoke_token(self, name: str, by: By) -> None:
        """It opens nothing any more. AdminRefusedError."""


class Book(Protocol):
    """The audit book."""

    async def note(self, by: By, action: str, of: str, *, before: object = None, after: object = None) -> None:
        """Write something down."""

    async def audit(
        self,
        limit: int,
        *,
        who: str | None = None,
        action: str | None = None,
        of: str | None = None,
        since: float | None = None,
        until: float | None = None,
        before: int | None = None,
    ) -> list[Entry]:
        """The newest entries first; None does not filter."""


class Blocklist(Protocol):
    """Numbers whose calls and texts are not taken; at once, without a draft."""

    async def blocked(self, limit: int, after: str | None = None) -> list[BlockRow]:
        """In the order of the numbers; *after* is the last one of the page before."""

    async def block(self, written: str, reason: str, by: By) -> str:
        """Block a number, as people write it; gives it in E.164. AdminRefusedError: it is none."""

    async def unblock(self, number: str, by: By) -> None:
        """Take it again. AdminRefusedError: it is not on the list."""


class Administration(msgspec.Struct, frozen=True):
    """All of it."""

    publishing: Publishing
    people: People
    tokens: Tokens
    book: Book
    blocklist: Blocklist
