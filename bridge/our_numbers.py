"""Our numbers: what a call or a text to each of them meets, who answers there, in which words, and how long anything waits."""

from collections.abc import Callable, Mapping
from typing import Any

from bridge import events as e
from bridge.conversation import CallRules, ChatRules, Limits, Words
from bridge.hours import hours_at
from bridge.settings import ChatSettings, Settings
from ivr_flows.model import Flow
from sms.menu import Menu


class OurNumbers:
    """What the settings say of each number.

    Args:
        settings: The numbers, queues and agents.
        flows: By name; at least one, whose texts serve numbers that have no flow.
        menus: Text menus by name; `default` has the words that a number's own menu and flow do not have.
        clock: Seconds since the epoch: what is said depends on the opening hours.
    """

    def __init__(
        self, settings: Settings, flows: Mapping[str, Flow], menus: Mapping[str, Menu], *, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._flows = flows
        self._menus = menus
        self._clock = clock
        self._numbers = {number.number: number for number in settings.numbers}

    def flow(self, ours: str) -> Flow | None:
        """What calls meet; None: they are refused."""
        number = self._numbers.get(ours)
        return None if number is None or number.flow is None else self._flows.get(number.flow)

    def menu(self, ours: str) -> Menu | None:
        """What texts meet; None: the desk at once."""
        number = self._numbers.get(ours)
        return None if number is None or number.menu is None else self._menus.get(number.menu)

    def agent(self, ours: str) -> e.AgentId | None:
        """Whose own number it is; None: nobody's."""
        number = self._numbers.get(ours)
        return None if number is None or number.agent is None else e.AgentId(number.agent)

    def language(self, ours: str) -> str | None:
        """Of who is not known yet; None: nobody has said."""
        number = self._numbers.get(ours)
        return None if number is None else number.language

    def desk(self, ours: str) -> e.QueueId | None:
        """Who takes its chats; None: nobody has been put in charge."""
        number, menu = self._numbers.get(ours), self.menu(ours)
        unassigned = self._settings.sms.unassigned
        if number is not None and number.desk is not None:
            return e.QueueId(number.desk)
        if number is not None and number.agent is not None:
            agent = next(agent for agent in self._settings.agents if agent.id == number.agent)
            return e.QueueId(self._settings.chat_queue_of(agent) or "")
        if menu is not None:
            return e.QueueId(menu.default)
        return e.QueueId(unassigned.queue) if unassigned.action == "queue" and unassigned.queue is not None else None

    def desk_instead(self, ours: str) -> e.QueueId | None:
        """Who takes its chats when the desk that had them is no longer in the settings."""
        desks = [queue.id for queue in self._settings.queues if queue.channel == "sms"]
        desk = self.desk(ours)
        return desk if desk in desks else next((e.QueueId(desk) for desk in desks), None)

    def words(self, ours: str) -> Words:
        """Its own texts: its menu's, else its flow's, else the packaged ones."""
        menu, default, flow = self.menu(ours), self._menus["default"], self.flow(ours)
        if flow is None or flow.texts is None:
            flow = next(flow for flow in self._flows.values() if flow.texts is not None)
        texts, known = flow.texts, {"brand": self._settings.brand, "called": ours}
        hours = self._settings.hours.get(flow.hours or "")

        def words(key: str, language: str, queue: str | None = None, values: Mapping[str, Any] | None = None) -> str:
            filled = {**known, **(values or {})}
            said = None if menu is None else menu.words(key, queue, language, **filled)
            if said is not None:
                return said
            # Nobody is told that an agent will answer here while everybody has gone home.
            if key == "hello" and hours is not None and hours_at(hours, self._clock()).state != "open":
                key = "closed"
            if hasattr(texts, key):
                return flow.text(getattr(texts, key), language, known)
            return default.words(key, None, language, **filled) or ""

        return words


def limits_of(settings: Settings) -> Limits:
    """How long a session waits for what."""
    return Limits(
        reply_window=settings.sms.reply_window,
        open_window=settings.sms.open_window,
        menu=settings.sms.menu_timeout,
        agent_ring=settings.sip.ring_timeout,
        calls=CallRules(
            hold_music=settings.calls.hold_music,
            transfer_ring=settings.calls.transfer_ring,
            max_transfers=settings.calls.max_transfers,
            ring=settings.calls.ring,
            callback_tries=settings.calls.callback.tries,
            callback_retry=settings.calls.callback.retry_after,
            callback_expire=settings.calls.callback.expire,
        ),
        chat=_chat_rules(settings, None),
        chats={queue.id: _chat_rules(settings, queue.chat) for queue in settings.queues if queue.channel == "sms"},
    )


def _chat_rules(settings: Settings, own: ChatSettings | None) -> ChatRules:
    """The rules of a queue's chats: its own, else those of all."""

    def rule(name: str) -> Any:
        value = None if own is None else getattr(own, name)
        return getattr(settings.sms, name) if value is None else value

    return ChatRules(
        expire=rule("expire"),
        idle=rule("chat_idle_timeout"),
        warn_before=rule("warn_before"),
        dismiss_after=rule("dismiss_after"),
        reopen=rule("reopen_window"),
        prefer_for=rule("prefer_for"),
        transfer_ring=rule("transfer_ring"),
        max_transfers=rule("max_transfers"),
    )
