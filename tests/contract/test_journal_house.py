"""What the journal promises of the house, whichever database keeps it: revisions, draft, audit book, accounts, tokens."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from bridge.journal import Journal
from bridge.journal.accounts import Account, ApiToken, Browser, TokenExistsError
from bridge.journal.house import Draft, DraftMovedError, Entry, Revision

BY = Entry(1.0, "ann", "settings.published", "settings", "192.0.2.1", after={"n": 1})


@pytest.fixture
async def journal(journal_url: str) -> AsyncIterator[Journal]:
    async with Journal.open(journal_url) as journal:
        yield journal


async def test_the_newest_revision_is_what_holds(journal: Journal) -> None:
    """Revisions are numbered from 1 and never change; one that does not follow the newest is refused."""
    assert (await journal.newest_revision(), await journal.newest_number()) == (None, 0)
    assert await journal.publish(Revision(1.0, "ann", "first", "brand: A"), BY, after=0) == 1
    with pytest.raises(DraftMovedError):
        await journal.publish(Revision(2.0, "ben", "second", "brand: B"), BY, after=0)
    assert await journal.publish(Revision(3.0, "ben", "back", "brand: A", back_to=1), BY, after=1) == 2
    assert await journal.newest_number() == 2
    assert [revision.n for revision in await journal.revisions(5)] == [2, 1]
    assert [revision.n for revision in await journal.revisions(5, before=2)] == [1]
    assert await journal.revision(2) == await journal.newest_revision() == Revision(3.0, "ben", "back", "brand: A", 1, 2)
    assert await journal.revision(3) is None
    assert len(await journal.audit(10)) == 2


async def test_of_two_who_change_the_draft_one_hears_of_the_other(journal: Journal) -> None:
    """A draft is only saved over the one that its author has seen, and a publication uses it up."""
    draft = Draft(1, 0, "ann", 1.0, "brand: A")
    await journal.save_draft(draft, over=None)
    later = msgspec.structs.replace(draft, version=2, author="ben", text="brand: B")
    await journal.save_draft(later, over=1)
    with pytest.raises(DraftMovedError):
        await journal.save_draft(msgspec.structs.replace(draft, version=2), over=1)
    assert await journal.draft() == later
    with pytest.raises(DraftMovedError):
        await journal.publish(Revision(1.0, "ann", "", "brand: A"), BY, after=0, version=1)
    assert await journal.newest_number() == 0
    await journal.publish(Revision(1.0, "ben", "", "brand: B"), BY, after=0, version=2)
    assert await journal.draft() is None
    await journal.drop_draft(BY)
    assert len(await journal.audit(10)) == 1
    await journal.save_draft(draft, over=None)
    await journal.drop_draft(msgspec.structs.replace(BY, action="settings.draft_dropped"))
    assert (await journal.draft(), len(await journal.audit(10))) == (None, 2)


async def test_the_audit_book_is_read_from_the_newest_entry(journal: Journal) -> None:
    """By author, action or family of actions, object and time, in pages; old entries go."""
    await journal.note(BY, Entry(2.0, "ben", "sign_in", "user ben"), Entry(3.0, "ben", "sign_in.refused", "user ann"))
    book = await journal.audit(10)
    assert [entry.n for entry in book] == [3, 2, 1]
    assert (book[2].after, book[2].origin, book[0].origin) == ({"n": 1}, "192.0.2.1", None)

    async def numbers(**filters: object) -> list[int]:
        return [entry.n for entry in await journal.audit(10, **filters)]  # type: ignore[arg-type]

    assert await numbers(who="ben") == [3, 2]
    assert await numbers(action="sign_in") == [2]
    assert await numbers(action="sign_in.") == [3]
    assert await numbers(of="user ann") == [3]
    assert await numbers(since=2.0, until=3.0) == [2]
    assert await numbers(before=3) == [2, 1]
    assert await journal.forget_audit(3.0) == 2
    assert await numbers() == [3]


async def test_an_account_is_kept_with_what_is_told_of_it(journal: Journal) -> None:
    """A login of whom nothing is kept has an empty account; signing out elsewhere comes with the same write."""
    assert await journal.account("ann") == Account("ann")
    for name in ("a1", "a2"):
        await journal.keep_browser(Browser(name, "ann", "token", 100.0))
    await journal.keep_browser(Browser("b1", "ben", "token", 100.0))
    row = Account("ann", "hash", must_change=True, sounds={"call": False}, language="fr")
    assert await journal.change_account("ann", lambda _: row, BY, sign_out="a2") == row
    assert await journal.accounts() == {"ann": row}
    assert sorted(each.hash for each in await journal.browsers(0.0)) == ["a2", "b1"]
    await journal.change_account("ann", lambda there: msgspec.structs.replace(there, language="es"))
    assert await journal.account("ann") == msgspec.structs.replace(row, language="es")
    await journal.change_account("ann", lambda _: row, sign_out="")
    assert [each.hash for each in await journal.browsers(0.0)] == ["b1"]
    assert await journal.browsers(100.0) == []


async def test_browsers_sign_out_by_person_by_cookie_and_by_time(journal: Journal) -> None:
    """Each of the three on its own."""
    for name, login, until in (("a", "ann", 9.0), ("b", "ben", 9.0), ("c", "ben", 9.0), ("d", "clo", 2.0)):
        await journal.keep_browser(Browser(name, login, "token", until))
    await journal.drop_browsers(login="ann")
    await journal.drop_browsers(hashes=("b",))
    assert sorted(each.hash for each in await journal.browsers(0.0)) == ["c", "d"]
    assert await journal.browser("d", 1.0) == Browser("d", "clo", "token", 2.0)
    assert (await journal.browser("d", 2.0), await journal.browser("a", 1.0)) == (None, None)
    await journal.drop_browsers(until=2.0)
    assert [each.hash for each in await journal.browsers(0.0)] == ["c"]


async def test_a_one_time_link_sets_one_password(journal: Journal) -> None:
    """Not twice, not too late, not for somebody who is barred; it unlocks, and signs out everywhere."""
    row = Account("ann", failures=9, locked_until=99.0, link_hash="link", link_until=10.0)
    await journal.change_account("ann", lambda _: row)
    await journal.keep_browser(Browser("a", "ann", "token", 100.0))
    assert (await journal.account_of_link("link"), await journal.account_of_link("other")) == (row, None)
    assert await journal.use_link("link", "new", 10.0, BY) is None
    await journal.change_account("ann", lambda there: msgspec.structs.replace(there, disabled=True))
    assert await journal.use_link("link", "new", 5.0, BY) is None
    await journal.change_account("ann", lambda _: row)
    assert await journal.use_link("link", "new", 5.0, BY) == "ann"
    assert await journal.use_link("link", "newer", 5.0, BY) is None
    assert await journal.account("ann") == Account("ann", "new")
    assert await journal.browsers(0.0) == []
    assert [(entry.who, entry.object) for entry in await journal.audit(9)] == [("ann", "user ann")]


async def test_a_token_is_never_used_under_a_name_that_was_taken(journal: Journal) -> None:
    """What stands in the books under a name goes on meaning the same program, also after the token was revoked."""
    token = ApiToken("shop", "hash", ("sms.send",), 5.0, ("+15550100200",), 1.0, "ann")
    await journal.add_api_token(token, BY)
    assert await journal.revoke_api_token("shop", 2.0, BY)
    assert not await journal.revoke_api_token("shop", 3.0, BY)
    with pytest.raises(TokenExistsError):
        await journal.add_api_token(msgspec.structs.replace(token, hash="other"), BY)
    await journal.api_tokens_used({"shop": 7.0})
    await journal.api_tokens_used({"shop": 6.0})  # of another node, a little late
    assert await journal.api_tokens() == [msgspec.structs.replace(token, used_at=7.0, revoked_at=2.0)]
    assert len(await journal.audit(9)) == 2
