"""A floor for tests of routing: three queues, up to three agents, and an observer that writes everything down."""

from collections.abc import Iterable
from typing import Any

from bridge.acd import Acd, AgentSpec, AnyAcdOutput, QueueSpec
from bridge.events import AgentId, QueueId, SessionId

CALLS, TEXTS, SALES = QueueId("calls"), QueueId("texts"), QueueId("sales")
ANN, BEN, CLO = AgentId("ann"), AgentId("ben"), AgentId("clo")
S1, S2, S3, S4 = (SessionId(f"s{n}") for n in range(1, 5))

QUEUES = (QueueSpec(CALLS, "voice"), QueueSpec(TEXTS, "sms", wrap_up=0.0), QueueSpec(SALES, "voice"))


class Diary:
    """An observer that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[Any, ...]] = []

    def login(self, now: float, agent: str, queues: Iterable[str], slots: int) -> None:
        self.lines.append(("login", now, agent, tuple(queues), slots))

    def logout(self, now: float, agent: str) -> None:
        self.lines.append(("logout", now, agent))

    def capacity(self, now: float, agent: str, voice_free: int, chat_free: int) -> None:
        self.lines.append(("capacity", now, agent, voice_free, chat_free))

    def joined(self, now: float, contact: str, queue: str, priority: int, since: float | None = None) -> None:
        self.lines.append(("joined", now, contact, queue, priority, since))

    def started(self, now: float, contact: str, agent: str, queue: str | None = None) -> None:
        self.lines.append(("started", now, contact, agent, queue))

    def abandoned(self, now: float, contact: str, *, ghost: bool = True) -> None:
        self.lines.append(("abandoned", now, contact, ghost))

    def ended(self, now: float, contact: str, agent: str, *, served: bool = True) -> None:
        self.lines.append(("ended" if served else "not served", now, contact, agent))


def agent(name: AgentId, *queues: QueueId, **more: Any) -> AgentSpec:
    """An agent of calls and texts, or of the queues given."""
    return AgentSpec(name, name.title(), queues or (CALLS, TEXTS), **more)


def acd(
    *agents: AgentSpec, queues: Iterable[QueueSpec] = QUEUES, observer: Diary | None = None, ageing: float | None = None
) -> Acd:
    """An Acd with everybody signed in at second 0."""
    it = Acd(queues, agents, observer, ageing=ageing)
    for spec in agents:
        it.set_state(spec.id, "ready", None, 0.0)
    return it


def of(kind: type[AnyAcdOutput], outputs: list[AnyAcdOutput]) -> list[Any]:
    """The outputs of one kind."""
    return [output for output in outputs if isinstance(output, kind)]
