"""What an agent sees: what rings, what is in hand, a conversation with all that is known of it."""

from bridge import events as e
from bridge.desk import cards
from bridge.desk.attention import Attention
from bridge.desk.concerns import Concerns, concerns, is_of, note_for
from bridge.desk.handovers import Handovers
from bridge.desk.staff import Staff
from bridge.glance import at_a_glance
from bridge.legs import TextLeg
from bridge.live import LiveSession
from bridge.records import QUIET, line_of, state_of
from bridge.runner import Runner
from bridge.session import State
from bridge.web.console.words import gettext as _
from bridge.web.ports import Agreement, Earlier, OfferedWork, Related, SessionView, Ticks, Work
from bridge.web.ports_desk import Folded, Required, Waiter
from sms import errors
from sms.message import TextState

MOST_EARLIER = 5
"""Other conversations of a customer that an agent is shown."""
MOST_FOLDED = 5
"""Earlier conversations that are read at once."""


class Views:
    """Reads the runner and the journal, changes nothing.

    Args:
        runner: Where the sessions are.
        staff: Who there is.
        concerned: Whose conversation is whose.
        attention: What stands out.
        handovers: To whom a chat may be handed.
        takes_files: Whether customers can be sent links by which they leave pictures.
    """

    def __init__(
        self,
        runner: Runner,
        staff: Staff,
        concerned: Concerns,
        attention: Attention,
        handovers: Handovers,
        *,
        takes_files: bool,
    ) -> None:
        self._runner = runner
        self._staff = staff
        self._concerns = concerned
        self._attention = attention
        self._handovers = handovers
        self._takes_files = takes_files

    def offers(self, agent: e.AgentId) -> tuple[OfferedWork, ...]:
        """What rings at this desk."""
        offer = self._runner.floor.acd.agent_view(agent).offer
        live = None if offer is None else self._runner.sessions.get(offer.session)
        if offer is None or live is None:
            return ()
        state = live.state
        waited = 0.0 if state.since is None else max(0.0, self._runner.clock() - state.since)
        summary = cards.summary(state)
        if summary in map(_, cards.NO_SUMMARY):
            summary = self._attention.said(offer.session) or summary
        if state.transfer is not None and state.transfer.by != agent:
            by = self._staff.name(state.transfer.by)
            summary = _("%(name)s hands it over: %(note)s", name=by, note=state.transfer.note or summary)
        call = state.call_transfer
        if call is not None and offer.channel == "voice":
            summary = _("%(name)s hands it over: %(note)s", name=self._staff.name(call.by), note=call.note or summary)
        elif state.callback is not None and offer.channel == "voice":
            summary = _("To be called back. %(note)s", note=summary)
        name = live.customer.name
        return (OfferedWork(offer.session, offer.channel, offer.queue, state.customer, offer.until, waited, summary, name),)

    async def work(self, agent: e.AgentId) -> tuple[Work, ...]:
        """What the agent has in hand, newest first."""
        mine = [live for live in self._runner.sessions.values() if concerns(live.state, agent)]
        return tuple([await self._row(agent, live) for live in sorted(mine, key=lambda live: -live.state.touched_at)])

    async def _row(self, agent: e.AgentId, live: LiveSession) -> Work:
        state = live.state
        alert = self._attention.alert(agent, state.id)
        glance = await self._attention.glance(live)
        return Work(
            state.id,
            state.customer,
            state.chat_queue or state.queue,
            state.call,
            state.text,
            state.opened_at,
            live.unread,
            live.last or cards.summary(state),
            agent in state.wrapping,
            name=live.customer.name,
            unanswered_since=glance.unanswered_since if is_of(state, agent) else None,
            set_aside_at=glance.set_aside_at if state.text is TextLeg.DISMISSED else None,
            returned=self._attention.returned(state.id),
            handing_over="" if state.transfer is None else self._handovers.taker(state),
            alert="" if alert is None else cards.came_back(alert),
        )

    async def session(self, agent: e.AgentId, state: State, composer_why: str | None) -> SessionView:
        """A session as this agent may see it; *composer_why*: why they may not write, None when they may."""
        journal = self._runner.journal
        lines = await journal.timeline(state.id)
        glance = at_a_glance(lines)
        messages = await journal.messages(state.id)
        contact = None if state.customer is None else await journal.contact(state.customer)
        consents = [] if state.customer is None else await journal.consents(state.customer)
        return SessionView(
            id=state.id,
            customer=state.customer,
            our_number=state.our_number,
            language=state.language,
            queue=state.chat_queue or state.queue,
            opened_at=state.opened_at,
            closed_at=state.closed_at,
            agent=state.agent or state.chat_agent,
            call_state=state.call,
            text_state=state.text,
            composer_open=composer_why is None,
            composer_why=composer_why or "",
            card=cards.card(state, self._runner.clock()),
            answers=dict(state.answers),
            timeline=tuple(line_of(line) for line in lines if line.kind not in QUIET),
            ticks={
                message.id: ticks(message.provider, message.state, message.error_code)
                for message in messages
                if message.direction == "out" and message.state != "received"
            },
            wrapping_up=agent in state.wrapping,
            chat_agent=state.chat_agent,
            name=self._name_of_customer(state.id) or (None if contact is None else contact.name),
            reply_code=state.code,
            texts_to=state.texts_to,
            unanswered_since=glance.unanswered_since,
            handover=self._handovers.under_way(state),
            note=glance.note if note_for(state, agent) else "",
            note_by=glance.note_by,
            suspicion=glance.suspicion if state.suspected is not None else None,
            opted_out=glance.opted_out,
            related=self._related(state) if glance.probable else None,
            agreements=tuple(
                Agreement(each.at, each.purpose, each.granted, each.words, each.language) for each in reversed(consents)
            ),
            earlier=await self._earlier(state),
            link=glance.link,
            transfer_why=self._handovers.why_not(state),
            set_aside_why=cards.set_aside_why(state),
            takes_files=self._takes_files,
            told=glance.told,
            wrap_up_requires=self.requires(state) if agent in state.wrapping else (),
        )

    def composer_why(self, live: LiveSession, agent: e.AgentId) -> str | None:
        """Why the agent may not write now; None when they may."""
        state, why = live.state, live.session.composer(agent)
        if why is None or state.text is TextLeg.OPTED_OUT or state.suspected is not None:
            return None if why is None else _(why)
        if self._concerns.rings(agent, state.id):
            return _("Accept it to write.")
        if state.transfer is not None and state.transfer.by == agent:
            return _("You have handed this chat over. If nobody takes it, it comes back to you.")
        if state.text is TextLeg.DISMISSED and state.prefer == agent:
            return _("Set aside until the customer writes.")
        return _(why)

    def requires(self, state: State) -> tuple[Required, ...]:
        """What has to be written about the work, of whichever queue it came from."""
        queues = [self._runner.floor.queues.get(queue) for queue in (state.queue, state.chat_queue) if queue is not None]
        return tuple(dict.fromkeys(each for queue in queues if queue is not None for each in queue.wrap_up_requires))

    def _name_of_customer(self, session: e.SessionId) -> str | None:
        """What an open session knows; of several people with one number it is whom the agent has chosen."""
        live = self._runner.sessions.get(session)
        return None if live is None else live.customer.name

    def _related(self, state: State) -> Related | None:
        """The newest other conversation of the customer's on another number of ours; None: it is over."""
        others = [
            live
            for live in (() if state.customer is None else self._runner.sessions_of(state.customer))
            if live.state.our_number != state.our_number
        ]
        newest = max(others, key=lambda live: live.state.touched_at, default=None)
        return None if newest is None else Related(newest.state.id, newest.state.customer, newest.state.our_number)

    async def _earlier(self, state: State) -> tuple[Earlier, ...]:
        if state.customer is None:
            return ()
        stored = await self._runner.journal.sessions(MOST_EARLIER + 1, customer=state.customer)
        return tuple(
            Earlier(
                each.id,
                each.row.opened_at,
                each.row.closed_at is not None,
                each.row.service,
                each.row.queue,
                next(reversed(state_of(each).names.values()), None),
            )
            for each in stored
            if each.id != state.id
        )[:MOST_EARLIER]

    def waiting(self, agent: e.AgentId) -> tuple[Waiter, ...]:
        """Who is in line for the agent's queues, the longest wait first."""
        queues = set(self._staff.known[agent].queues) if agent in self._staff.known else set()
        waiters = [
            Waiter(
                state.id,
                state.customer,
                live.customer.name,
                queue,
                channel,
                state.since or state.opened_at,
                cards.summary(state),
            )
            for live in self._runner.sessions.values()
            for state in [live.state]
            for queue, channel in cards.in_line(state)
            if queue in queues
        ]
        return tuple(sorted(waiters, key=lambda waiter: waiter.since))

    async def before(self, customer: str, session: e.SessionId) -> tuple[tuple[Folded, ...], bool]:
        """Conversations with the customer from before *session*, the newest first, and whether there are more."""
        older = await self._runner.journal.sessions(MOST_FOLDED + 1, customer=customer, after=session)
        folded = [
            Folded(
                each.id,
                each.row.opened_at,
                each.row.closed_at is not None,
                each.row.service,
                each.row.queue,
                next(reversed(state_of(each).names.values()), None),
                each.row.ended_reason,
            )
            for each in older[:MOST_FOLDED]
        ]
        return tuple(folded), len(older) > MOST_FOLDED


def ticks(provider: str, state: TextState, code: str | None) -> Ticks:
    """How far a text of ours has come; *code*: why it failed, in the provider's numbers."""
    return Ticks(state, code, None if code is None else errors.diagnose(provider, code).explanation)
