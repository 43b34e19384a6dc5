"""Who a session is with, as a desk and a program are told it."""

from collections.abc import Mapping, Sequence
from typing import Any

from bridge.crm import CrmContact
from bridge.crm.fields import tidy
from bridge.events import AgentId, SessionId
from bridge.journal.crm_rows import CrmEntry
from bridge.web.ports import DeskRefusedError
from bridge.web.ports_contacts import ContactCard

NOW = 1_800_000_000.0
PHONE = "+15550100123"
SESSION = SessionId("s-3")
ANN = CrmContact(id="k1", name="Ann Weber", company="Example", phones=(PHONE,), tags=("gold",), custom={"vip": True})
BOB = CrmContact(id="k2", phones=(PHONE,))


class FakeCards:
    """What the desk asks about its customer."""

    provider = "crm"

    def __init__(self) -> None:
        self.shown: ContactCard | None = ContactCard(session=SESSION, number=PHONE, state="choose", candidates=(ANN, BOB))
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: str | None = None
        self.dead = [
            CrmEntry(
                n=7,
                id="create:x",
                session=SESSION,
                number=PHONE,
                action="create",
                at=NOW,
                due_at=NOW,
                attempts=3,
                state="dead",
                last_error="HTTP 422: <b>no</b>",
                faults={"phones": "not ours"},
            )
        ]

    async def card(self, agent: AgentId, session: SessionId) -> ContactCard | None:
        self.asked.append(("card", agent, session))
        return self.shown

    async def search(self, agent: AgentId, session: SessionId, typed: str) -> Sequence[CrmContact]:
        self.asked.append(("search", agent, session, typed))
        if self.refusal:
            raise DeskRefusedError(self.refusal)
        return [ANN] if typed == "ann" else []

    async def choose(self, agent: AgentId, session: SessionId, contact: str) -> None:
        if self.refusal:
            raise DeskRefusedError(self.refusal)
        self.asked.append(("choose", agent, session, contact))
        self.shown = ContactCard(session=SESSION, number=PHONE, state="assigned", contact=ANN, candidates=(ANN, BOB), by="Ana")

    async def create(self, agent: AgentId, session: SessionId, given: Mapping[str, Any]) -> None:
        tidy(given)
        self.asked.append(("create", agent, session, dict(given)))

    async def rename(self, agent: AgentId, session: SessionId, name: str) -> None:
        tidy({"name": name})
        self.asked.append(("rename", agent, session, name))

    async def entries(self, *, state: str | None = None, limit: int = 100, after: int | None = None) -> list[CrmEntry]:
        del limit, after
        return self.dead if state == "dead" else []

    async def counts(self) -> Mapping[str, int]:
        return {"dead": len(self.dead)}

    async def redeliver(self, n: int) -> bool:
        self.asked.append(("redeliver", n))
        return n == 7

    async def transcript(self, session: SessionId) -> str | None:
        return f"What was said in {session} <script>"
