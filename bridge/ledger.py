"""What one step of a session writes into the journal: the event, and everything that follows from it, as rows of one unit."""

from collections.abc import Iterable, MutableMapping, Sequence

import msgspec

from bridge import events as e
from bridge.journal import (
    ConsentRow,
    DecisionRow,
    MessageRow,
    MessageUpdate,
    OutboxDone,
    OutboxRow,
    SessionRow,
    Suppression,
    TimelineLine,
    Unit,
    UploadRow,
)
from bridge.notices import HookRule, notices_of
from bridge.outbox import OWED
from bridge.session import State
from sms.message import TextState, advance

_EVENTS = msgspec.json.Encoder()
TextEvent = e.TextAccepted | e.TextRejected | e.TextReported


def step_unit(
    event: e.AnyEvent | None,
    commands: Iterable[e.AnyCommand],
    *,
    state: State,
    snapshot: bytes,
    seq: int,
    ticks: MutableMapping[e.MessageId, TextState],
    provider: str,
    hooks: Sequence[HookRule] = (),
    fence: int | None = None,
    now: float,
) -> Unit:
    """Everything one step leads to.

    Args:
        event: What happened; None when the session's own clock moved it.
        commands: What the session wants done.
        state: Of the session after the step.
        snapshot: The same as JSON.
        seq: The number of the session's newest event before the step.
        ticks: How far each of its texts has come; brought up to date.
        provider: Who carries texts that are sent now.
        hooks: Who is told what.
        fence: The number on the lease under which the session is worked on; None: there is no other node.
        now: Seconds since the epoch.
    """
    unit = Unit(session=state.id, expected_seq=seq, snapshot=snapshot, row=session_row(state), fence=fence)
    if event is not None:
        unit.events.append((now, _EVENTS.encode(event)))
    match event:
        case e.TextArrived():
            unit.messages.append(_received(event, state.id, now))
            unit.inbound_handled.append(event.message)
        case e.MediaUploaded() if event.media:
            unit.messages.append(_uploaded(event, state, now))
        case e.TextAccepted() | e.TextRejected() | e.TextReported():
            ticks[event.message] = write_text(unit, event, ticks.get(event.message, "pending"), now)
        case e.OfferDecided():
            unit.decisions.append(
                DecisionRow(
                    kind=f"offer.{event.kind}",
                    outcome="offer" if event.offer else "no_offer",
                    reason=event.reason,
                    inputs=event.inputs,
                    at=now,
                )
            )
        case _:
            pass
    for command in commands:
        if isinstance(command, e.SendText):
            ticks[command.message] = "pending"
        _write_command(unit, command, state, provider, now)
    unit.notices.extend(
        notices_of(state.id, unit.row, unit.timeline, unit.message_updates, unit.messages, endpoints=hooks, opened=seq == 0)
    )
    return unit


def _write_command(unit: Unit, command: e.AnyCommand, state: State, provider: str, now: float) -> None:
    match command:
        case e.Record():
            unit.timeline.append(TimelineLine(now, command.kind, dict(command.data)))
        case e.SendText():
            unit.messages.append(
                MessageRow(
                    id=command.message,
                    session=state.id,
                    direction="out",
                    provider=provider,
                    sender=command.sender,
                    recipient=command.recipient,
                    body=command.body,
                    media=command.media,
                    preset=command.preset,
                    state="pending",
                    purpose=command.purpose,
                    author=OWED if command.required else command.author,
                    created_at=now,
                )
            )
            unit.outbox.append(
                OutboxRow(
                    message=command.message,
                    priority=command.priority,
                    created_at=now,
                    due_at=now if command.due_at is None else command.due_at,
                    expires_at=command.expires_at,
                )
            )
        case e.RecordConsent():
            unit.consents.append(
                ConsentRow(
                    number=command.number,
                    purpose=command.purpose,
                    granted=command.granted,
                    words=command.words,
                    language=command.language,
                    evidence=command.evidence,
                    sender=command.sender,
                    prompt=command.prompt,
                    version=command.version,
                    at=now,
                )
            )
        case e.KeepUpload():
            unit.uploads.append(
                UploadRow(
                    token_hash=command.token,
                    session=state.id,
                    message=command.message,
                    created_at=now,
                    expires_at=command.expires_at,
                )
            )
        case e.OptOut():
            unit.suppress.append(
                Suppression(
                    number=command.number,
                    sender=command.sender,
                    evidence=command.evidence,
                    at=now,
                    provisional=command.provisional,
                )
            )
        case e.OptIn():
            unit.unsuppress.append(Suppression(number=command.number, sender=command.sender, evidence=command.evidence, at=now))
        case _:
            pass


def session_row(state: State) -> SessionRow:
    """What can be asked of a session without opening its snapshot."""
    return SessionRow(
        state="closed" if state.closed_at is not None else "open",
        customer=state.customer,
        our_number=state.our_number,
        language=state.language,
        queue=state.chat_queue or state.queue,
        agent=state.agent or state.chat_agent,
        opened_at=state.opened_at,
        closed_at=state.closed_at,
        text_state=state.text,
        call_state=state.call,
        service=state.service,
        ended_reason=state.reason if state.closed_at is not None else None,
        handled=state.handled,
        first_agent_at=state.first_agent_at,
    )


def _received(event: e.TextArrived, session: e.SessionId, now: float) -> MessageRow:
    return MessageRow(
        id=event.message,
        session=session,
        direction="in",
        provider=event.provider,
        provider_ref=event.ref,
        sender=event.sender,
        recipient=event.recipient,
        body=event.body,
        media=event.media,
        state="received",
        author="customer",
        created_at=now,
    )


def _uploaded(event: e.MediaUploaded, state: State, now: float) -> MessageRow:
    """Files that came by a link stand among the texts."""
    return MessageRow(
        id=e.MessageId(f"up-{event.token[:32]}"),
        session=state.id,
        direction="in",
        provider="upload",
        sender=state.texts_to or state.customer or "",
        recipient=state.our_number,
        body="",
        media=event.media,
        state="received",
        author="customer",
        created_at=now,
    )


def write_text(unit: Unit, event: TextEvent, current: TextState, now: float) -> TextState:
    """Add what a text's event changes to *unit*; returns the text's state after it (ranks only rise)."""
    match event:
        case e.TextAccepted():
            state = advance(current, "accepted")
            update = MessageUpdate(id=event.message, state=state, at=now, provider_ref=event.ref, segments=event.segments)
            unit.message_updates.append(update)
            unit.outbox_done.append(OutboxDone(event.message, "accepted", now))
        case e.TextRejected():
            state = advance(current, "canceled" if event.error_class == "too_late" else "failed")
            unit.message_updates.append(MessageUpdate(id=event.message, state=state, at=now, error_code=event.code))
            unit.outbox_done.append(OutboxDone(event.message, "rejected", now))
        case e.TextReported():
            state = advance(current, event.state)
            unit.message_updates.append(MessageUpdate(id=event.message, state=state, at=now, error_code=event.code))
    return state
