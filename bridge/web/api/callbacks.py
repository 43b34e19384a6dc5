"""Callbacks that a program asks for: a form on a web page, an order that is stuck."""

from http import HTTPStatus
from typing import Protocol

from pydantic import Field

from bridge.web.api import models as m
from bridge.web.api.operation import Behind, Call, Operation
from bridge.web.api.problems import ProblemError
from sms.numbers import normalise


class CannotCallError(Exception):
    """A customer is not to be called. The message says why.

    Args:
        kind: A key of the API's problems: `cannot_call`, `blocked`, `in_hand`, `unknown_queue`.
        words: For people.
    """

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


class Calling(Protocol):
    """Who has customers called: `bridge.calls.Calls`."""

    async def ask_callback(
        self, author: str, number: str, sender: str, queue: str | None, due_at: float | None, reason: str
    ) -> str:
        """Have a customer called when it is their turn; the session. Raises CannotCallError."""


class Callback(m.Request):
    """A customer who wants to be called."""

    to: m.Number
    sender: m.Number = Field(alias="from", description="the number of ours that the customer sees")
    queue: m.Name | None = Field(default=None, description="who calls: a queue for calls; null: the first one")
    due_at: m.Moment | None = Field(default=None, description="not before; null: as soon as it is their turn")
    reason: str = Field(default="", max_length=300, description="what it is about; the agent reads it")


class CallbackTaken(m.Answer):
    """It stands in line, or will."""

    session: str = Field(description="the conversation; its timeline tells what becomes of it")


class Callbacks:
    """The operations on callbacks."""

    def __init__(self, behind: Behind, calling: Calling) -> None:
        self._behind = behind
        self._calling = calling

    def operations(self) -> tuple[Operation, ...]:
        """What can be asked."""
        return (
            Operation(
                method="POST",
                path="/callbacks",
                name="askCallback",
                summary="Have a customer called by the agents of a queue, in the order of the line",
                scope="calls",
                handler=self._ask,
                body=Callback,
                answer=CallbackTaken,
                status=HTTPStatus.ACCEPTED,
                problems=(
                    "invalid_number",
                    "unknown_sender",
                    "sender_not_allowed",
                    "unknown_queue",
                    "blocked",
                    "cannot_call",
                    "in_hand",
                ),
            ),
        )

    async def _ask(self, call: Call) -> CallbackTaken:
        asked: Callback = call.body
        ours = normalise(asked.sender, region=self._behind.settings.country) or asked.sender
        if call.key.numbers and ours not in call.key.numbers:
            raise ProblemError("sender_not_allowed", f"{call.key.name} may use {', '.join(sorted(call.key.numbers))}.")
        if ours not in {number.number for number in self._behind.settings.numbers}:
            raise ProblemError("unknown_sender")
        number = self._behind.number(asked.to)
        try:
            session = await self._calling.ask_callback(call.key.author, number, ours, asked.queue, asked.due_at, asked.reason)
        except CannotCallError as refusal:
            raise ProblemError(refusal.kind, str(refusal)) from refusal
        return CallbackTaken(session=session)
