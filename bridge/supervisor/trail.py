"""How a session went and why, put together from what was kept and from how it stands now."""

from typing import get_args

import msgspec

from bridge import events as e
from bridge.board import SessionRow, session_row
from bridge.journal import StoredSession
from bridge.records import Records, line_of, state_of
from bridge.runner import Runner
from bridge.web.ports import Agreement, Ticks
from bridge.web.ports_supervisor import Decided, Standing, Trail
from sms import errors


def row_of(stored: StoredSession, name: str | None = None) -> SessionRow:
    """A session that is kept, as a row of the board."""
    return session_row(state_of(stored), name=name, auto=False, unanswered_since=None)


async def trail_of(runner: Runner, records: Records, session: e.SessionId) -> Trail | None:
    """Everything about a session; None: there is no such session."""
    journal, floor = runner.journal, runner.floor
    stored, explained = await journal.session(session), await records.explain(session)
    if stored is None or explained is None:
        return None
    live = runner.sessions.get(session)
    state = state_of(stored) if live is None else live.state
    customer = state.customer
    contact = None if customer is None else await journal.contact(customer)
    name = contact.name if contact is not None else None
    messages = await journal.messages(session)
    now = runner.clock()
    names = {agent: floor.acd.agent_spec(agent).name for agent in floor.acd.agents}
    waits = [(channel, floor.acd.explain(session, channel, now)) for channel in get_args(e.Channel)]
    ticks: dict[str, Ticks] = {}
    for message in messages:
        if message.direction == "out" and message.state != "received":
            code = message.error_code
            why = None if code is None else errors.diagnose(message.provider, code).explanation
            ticks[message.id] = Ticks(message.state, code, why)
    return Trail(
        row=session_row(state, name=name, auto=False, unanswered_since=None),
        reply_code=state.code,
        language=state.language,
        lines=tuple(line_of(line) for line in await journal.timeline(session)),
        ticks=ticks,
        decisions=tuple(
            Decided(each.decision.at, each.decision.kind, each.decision.outcome, each.decision.reason, each.decision.inputs)
            for each in await journal.decisions(session)
        ),
        waits=tuple(Standing(channel, wait, names) for channel, wait in waits if wait is not None),
        agreements=tuple(
            Agreement(each.at, each.purpose, each.granted, each.words, each.language)
            for each in ([] if customer is None else await journal.consents(customer))
        ),
        explained={**explained, "waits": [msgspec.to_builtins(wait) for _, wait in waits if wait is not None]},
    )
