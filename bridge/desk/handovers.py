"""To whom a chat may be handed."""

from bridge import events as e
from bridge.desk import cards
from bridge.desk.staff import Staff
from bridge.runner import Runner
from bridge.session import State
from bridge.web.console.words import gettext as _
from bridge.web.ports import Colleague, DeskRefusedError, Handover, HandoverQueue, Targets


class Handovers:
    """Whom an agent may ask to take a chat, and who is asked.

    Args:
        runner: Where the floor is.
        staff: Who there is.
    """

    def __init__(self, runner: Runner, staff: Staff) -> None:
        self._runner = runner
        self._staff = staff

    def targets(self, agent: e.AgentId, state: State) -> Targets:
        """Whom the chat may be handed to."""
        acd, now = self._runner.floor.acd, self._runner.clock()
        colleagues = []
        for other in self._staff.known.values():
            if other.id not in acd.agents or other.id in acd.leaving:
                continue  # takes no work, or no more
            view = acd.agent_view(e.AgentId(other.id))
            if view.agent != agent and view.state != "offline" and self._runner.settings.chat_queue_of(other) is not None:
                free = max(0, other.max_chats - len(view.chats))
                colleagues.append(Colleague(view.agent, other.name, view.state, view.reason, free, cards.cannot_take(view, free)))
        views = [
            acd.queue_view(e.QueueId(queue.id), now)
            for queue in self._runner.settings.queues
            if queue.channel == "sms" and queue.transfers
        ]
        queues = [
            HandoverQueue(view.queue, self._staff.queue_title(view.queue), view.waiting, view.agents_staffed) for view in views
        ]
        colleagues.sort(key=lambda one: (bool(one.why_not), one.name))
        return Targets(tuple(colleagues), tuple(queues), self.why_not(state))

    def choose(self, agent: e.AgentId, state: State, *, to: e.AgentId | None, queue: str | None) -> tuple[e.QueueId, str | None]:
        """The queue in which is asked, and the name of the colleague who is; None: whoever works there.

        Raises:
            DeskRefusedError: They cannot be asked.
        """
        targets = self.targets(agent, state)
        if to is not None:
            colleague = next((one for one in targets.colleagues if one.id == to), None)
            if colleague is None:
                raise DeskRefusedError(_("%(name)s is not signed in any more.", name=self._staff.name(to)))
            if colleague.why_not:
                raise DeskRefusedError(_("%(name)s cannot take it now: %(why)s.", name=colleague.name, why=colleague.why_not))
            queue, name = self._queue_for(to, state.chat_queue), colleague.name
        else:
            name = None
            if queue not in {one.id for one in targets.queues}:
                raise DeskRefusedError(_("Chats cannot be handed to that queue."))
        assert queue is not None
        return e.QueueId(queue), name

    def _queue_for(self, agent: e.AgentId, now_in: str | None) -> str | None:
        """The queue in which a colleague is asked: the chat's own if they work on it."""
        settings = self._staff.known[agent]
        return now_in if now_in in settings.queues else self._runner.settings.chat_queue_of(settings)

    def why_not(self, state: State) -> str:
        """Why the chat may not be handed on; empty when it may."""
        queue = self._runner.floor.queues.get(state.chat_queue or "")
        own = None if queue is None else queue.chat.max_transfers
        most = self._runner.settings.sms.max_transfers if own is None else own
        if state.transfers < most:
            return ""
        return _("This chat has been handed on %(n)s times already. Please keep it.", n=state.transfers)

    def under_way(self, state: State) -> Handover | None:
        """What the chat has been handed to and not been taken by; None: nothing."""
        transfer = state.transfer
        if transfer is None:
            return None
        return Handover(self.taker(state), transfer.by, transfer.note, transfer.at, state.timers.get("prefer"))

    def taker(self, state: State) -> str:
        """Who is asked to take over a chat."""
        transfer = state.transfer
        assert transfer is not None
        return transfer.to_name or self._staff.queue_title(transfer.queue)
