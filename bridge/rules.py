"""What a session goes by: the flow it began with, and the words, the menu and the waiting times of its number."""

import uuid
from collections.abc import Callable, Collection, Mapping

from bridge import events as e
from bridge.conversation import Words
from bridge.floor import Customer, Floor
from bridge.legs import TextLeg
from bridge.our_numbers import OurNumbers, limits_of
from bridge.session import Session, State
from bridge.settings import Settings
from ivr_flows.model import Flow
from sms.menu import Menu


class Rules:
    """Makes sessions that go by the settings of now, and by the flow of then.

    Args:
        settings: The numbers, and how long anything waits.
        flows: By name; at least one, whose texts serve numbers that have no flow.
        menus: Text menus by name; `default` has the words that a number's own menu and flow do not have.
        floor: Which queues there are.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, settings: Settings, flows: Mapping[str, Flow], menus: Mapping[str, Menu], floor: Floor, clock: Callable[[], float]
    ) -> None:
        self._floor = floor
        self._clock = clock
        self._flows: dict[str, Flow] = {}
        self._pinned: tuple[Flow, ...] = ()
        """Flows that no number uses any more, and calls that began with them do."""
        self._go_by(settings, flows, menus)

    def _go_by(self, settings: Settings, flows: Mapping[str, Flow], menus: Mapping[str, Menu]) -> None:
        self._flows = dict(flows)
        self._limits = limits_of(settings)
        self._numbers = OurNumbers(settings, self._flows, menus, clock=self._clock)

    def change(
        self, settings: Settings, flows: Mapping[str, Flow], menus: Mapping[str, Menu], *, began: Collection[str | None]
    ) -> None:
        """Go by other settings from now on; *began*: the revisions of the flows with which open sessions began."""
        before = {flow.revision: flow for flow in (*self._pinned, *self._flows.values())}
        now_used = {flow.revision for flow in flows.values()}
        self._pinned = tuple(flow for revision, flow in before.items() if revision in began and revision not in now_used)
        self._go_by(settings, flows, menus)

    # --- our numbers

    @property
    def flows(self) -> Mapping[str, Flow]:
        """The flows that calls begin with, by name."""
        return self._flows

    def flow(self, ours: str) -> Flow | None:
        """What calls to this number meet today; None: they are refused."""
        return self._numbers.flow(ours)

    def words(self, ours: str) -> Words:
        """The own texts of one of our numbers."""
        return self._numbers.words(ours)

    def is_assigned(self, ours: str) -> bool:
        """Whether somebody takes texts to this number."""
        return self._numbers.desk(ours) is not None

    # --- sessions

    def first_state(
        self, ours: str, customer: Customer, *, flow: Flow | None, leg: e.LegId | None, service: e.Service, code: str
    ) -> State:
        """Of a session that begins now: with a call (*leg*) or, when that is None, with a text. *code*: its reply code."""
        direct = None if service == "call" else self._numbers.agent(ours)
        menu = self._numbers.menu(ours)
        spoken = flow.default_language if flow is not None else "en" if menu is None else menu.default_language
        state = State(
            id=e.SessionId(f"{'t' if leg is None else 'c'}{uuid.uuid4().hex[:12]}"),
            opened_at=self._clock(),
            touched_at=self._clock(),
            customer=customer.number.e164,
            our_number=ours,
            desk=self._numbers.desk(ours),
            language=customer.language or self._numbers.language(ours) or spoken,
            introduced=customer.introduced,
            service="direct" if direct is not None and service == "inbound" else service,
            code=code,
            direct=direct,
            text=TextLeg.OPTED_OUT if customer.opted_out and customer.suspected is None else TextLeg.NONE,
            suspected=customer.suspected,
        )
        if not customer.number.can_text and state.customer is not None:
            state.why_not_text = "This number cannot take texts."
        return state

    def session(self, state: State, flow: Flow | None) -> Session:
        """The rules of *state*, with this flow."""
        ours = state.our_number
        return Session(state, flow=flow, words=self.words(ours), menu=self._numbers.menu(ours), limits=self._limits)

    def session_again(self, state: State) -> Session:
        """The rules of a state that was kept or came from another node."""
        return self.session(state, self.flow_of(state))

    def flow_of(self, state: State) -> Flow | None:
        """The flow a session began with; None when it had none, or when it has been edited since."""
        flows = (*self._flows.values(), *self._pinned)
        return next((flow for flow in flows if flow.revision == state.flow_revision), None)

    def mend(self, state: State) -> None:
        """Put the desk of the number in place of queues that are gone."""
        if state.chat_queue is not None and state.chat_queue not in self._floor.queues:
            state.chat_queue = self._numbers.desk_instead(state.our_number)
        if state.desk is not None and state.desk not in self._floor.queues:
            state.desk = self._numbers.desk_instead(state.our_number)
        if state.transfer is not None and state.transfer.of not in self._floor.queues:
            state.transfer = None
