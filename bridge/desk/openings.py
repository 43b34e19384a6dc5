"""Conversations that an agent begins."""

from bridge import events as e
from bridge.channel import Channel, ChannelRefusedError
from bridge.desk.staff import Staff
from bridge.runner import Runner
from bridge.web.console import core_words
from bridge.web.console.words import gettext as _
from bridge.web.console.words import marked
from bridge.web.ports import DeskRefusedError, Recipient, Sender
from sms.numbers import look_up

SHORTEST_NUMBER = 7
"""Digits. With fewer an agent is still typing."""
NO_NUMBER = marked("Numbers are written with + and country code, or as they are dialled here.")


class Openings:
    """From which numbers an agent may text whom, and the first text.

    Args:
        runner: Where the settings are.
        channel: Begins conversations.
        staff: Who there is.
    """

    def __init__(self, runner: Runner, channel: Channel, staff: Staff) -> None:
        self._runner = runner
        self._channel = channel
        self._staff = staff

    def senders(self, agent: e.AgentId) -> tuple[Sender, ...]:
        """Numbers the agent may begin a conversation from."""
        languages = {number.number: number.language for number in self._runner.settings.numbers}
        return tuple(
            Sender(
                each.number,
                languages.get(each.number) or "en",
                each.kind,
                each.registered,
                each.brand,
                each.campaign,
                each.per_day if each.left_today is None else each.left_today,
            )
            for each in self._channel.senders_for(agent)
        )

    async def recipient(self, agent: e.AgentId, typed: str, sender: str) -> Recipient:
        """What was typed means, and whether it can be texted."""
        if sum(char.isdigit() for char in typed) < SHORTEST_NUMBER:
            return Recipient(None)
        known = look_up(typed.strip(), region=self._runner.settings.country)
        if known.e164 is None:
            return Recipient(None, _(NO_NUMBER))
        try:
            await self._channel.may_open(agent, known.e164, sender)
        except ChannelRefusedError as refusal:
            return Recipient(known.e164, core_words.of_the_channel(refusal.rule, str(refusal), known.e164))
        customer = await self._runner.customer(known.e164, sender)
        return Recipient(
            known.e164, "", customer.name, "" if customer.introduced else self._first_words(agent, sender, customer.language)
        )

    def _first_words(self, agent: e.AgentId, sender: str, language: str | None) -> str:
        """What somebody reads who has never heard of us."""
        number = next((each for each in self._runner.settings.numbers if each.number == sender), None)
        own = None if number is None else number.language
        values = {"agent": self._staff.name(agent)}
        return self._runner.words_of(sender)("outbound", language or own or "en", None, values)

    async def open(self, agent: e.AgentId, number: str, sender: str, body: str, preset: str | None = None) -> e.SessionId:
        """Begin a conversation; the text is in the outbox and the chat is the agent's."""
        try:
            return await self._channel.open_by_agent(agent, number, sender, None, body, preset)
        except ChannelRefusedError as refusal:
            raise DeskRefusedError(core_words.of_the_channel(refusal.rule, str(refusal), number)) from refusal
