"""What agents keep for their own use, and their own conversations found again."""

from typing import Any

import msgspec
from sqlalchemy import Connection, RowMapping, and_, delete, desc, exists, func, insert, or_, select, update

from bridge.events import AgentId, SessionId
from bridge.journal import crm_tables, tables
from bridge.journal.desk_tables import own_preset as _preset
from bridge.journal.desk_tables import preset_use as _use
from bridge.journal.door import Door, as_struct

_AS_IN_NUMBERS = frozenset("0123456789+-() .")
_session, _message = tables.session, tables.message
_contact, _phone = crm_tables.contact, crm_tables.contact_phone


class OwnPreset(msgspec.Struct, frozen=True):
    """A ready-made text of one agent's."""

    id: str
    agent: AgentId
    language: str
    title: str
    text: str
    updated_at: float


class FoundSession(msgspec.Struct, frozen=True):
    """A conversation in which something was found."""

    id: SessionId
    customer: str | None
    name: str | None
    queue: str | None
    opened_at: float
    closed_at: float | None
    body: str | None
    """The newest text that has the words; None: the number or the name has them."""


class Desks(Door):
    """Ready-made texts of agents, how often they use which, and their conversations."""

    async def own_presets(self, agent: AgentId) -> list[OwnPreset]:
        """An agent's own ready-made texts in all languages, by title."""
        query = select(_preset).where(_preset.c.agent == agent).order_by(_preset.c.title, _preset.c.id)
        return await self._read(query, lambda row: as_struct(OwnPreset, row))

    async def keep_own_preset(self, row: OwnPreset) -> bool:
        """Keep a text, in the place of the agent's one with the same id. False: that id is somebody else's."""
        values = msgspec.structs.asdict(row)

        def write(connection: Connection) -> bool:
            owner = connection.execute(select(_preset.c.agent).where(_preset.c.id == row.id)).scalar()
            if owner is None:
                connection.execute(insert(_preset).values(values))
            elif owner == row.agent:
                connection.execute(update(_preset).where(_preset.c.id == row.id).values(values))
            return owner in {None, row.agent}

        return bool(await self._write(write))

    async def drop_own_preset(self, agent: AgentId, preset: str) -> None:
        """Forget one of the agent's own texts; nothing when it is not theirs."""
        await self._do(delete(_preset).where(_preset.c.agent == agent, _preset.c.id == preset))

    async def preset_uses(self, agent: AgentId) -> dict[str, int]:
        """How often the agent has sent which ready-made text."""
        query = select(_use.c.preset, _use.c.times).where(_use.c.agent == agent)
        return dict(await self._read(query, lambda row: (str(row["preset"]), int(row["times"]))))

    async def count_preset(self, agent: AgentId, preset: str, at: float) -> None:
        """The agent has sent a ready-made text once more."""
        mine = and_(_use.c.agent == agent, _use.c.preset == preset)

        def write(connection: Connection) -> None:
            if not connection.execute(update(_use).where(mine).values(times=_use.c.times + 1, last_at=at)).rowcount:
                connection.execute(insert(_use).values(agent=agent, preset=preset, times=1, last_at=at))

        await self._write(write)

    async def find_own(self, agent: AgentId, words: str, limit: int) -> list[FoundSession]:
        """The newest conversations that this agent has, or had last, with *words* in the number, the name or a text."""
        needle = "%" + words.lower().replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_") + "%"
        digits = "".join(char for char in words if char.isdecimal())
        in_text = and_(
            _message.c.session == _session.c.id,
            func.lower(_message.c.body).like(needle, escape="\\"),
        )
        newest = select(_message.c.body).where(in_text).order_by(desc(_message.c.n)).limit(1).scalar_subquery()
        name = (
            select(_contact.c.name)
            .join(_phone, _phone.c.contact == _contact.c.id)
            .where(_phone.c.number == _session.c.customer)
            .limit(1)
            .scalar_subquery()
        )
        found: list[Any] = [exists().where(in_text), func.lower(func.coalesce(name, "")).like(needle, escape="\\")]
        if digits and set(words) <= _AS_IN_NUMBERS:
            found.append(_session.c.customer.like(f"%{digits}%"))
        query = (
            select(
                _session.c.id,
                _session.c.customer,
                name.label("name"),
                _session.c.queue,
                _session.c.opened_at,
                _session.c.closed_at,
                newest.label("body"),
            )
            .where(_session.c.agent == agent, or_(*found))
            .order_by(desc(_session.c.opened_at), desc(_session.c.id))
            .limit(limit)
        )
        return await self._read(query, _found)


def _found(row: RowMapping) -> FoundSession:
    return as_struct(FoundSession, row)
