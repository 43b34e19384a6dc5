"""What is done beside the sessions, each of it by one node at a time: sending, hooks, healing, learning, waking the floor.

Who does it is settled by leases (`bridge.cluster.roles`). What another node finds out and the one that sends has to know goes
there as a word on a topic; because a word can be lost, that one also looks from time to time.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec
import structlog

from bridge import events as e
from bridge.cluster import Cluster, ClusterUnavailableError
from bridge.cluster.roles import Roles, Tenure
from bridge.floor import Floor
from bridge.floor_ops import Op, WakeFloor
from bridge.hooks import Hooks
from bridge.intake import Intake
from bridge.journal import Journal, JournalError, MessageRow, Unit
from bridge.outbox import Outbox
from sms.message import TextState

log = structlog.get_logger()

RECONCILE_EVERY = 60.0
"""Seconds between two looks whether lines and desks are what the sessions say."""
SAVE_ESTIMATES_EVERY = 60.0
"""Seconds of learning that may be lost."""
SWEEP_EVERY = 5.0
"""Seconds between two looks for texts that a node had accepted before it died; they are twice as old."""
POLL = 1.0
"""Seconds after which the journal is asked for what other nodes want to be sent, in case nobody has said so."""
TURN = 0.3
"""Seconds by which each further node lets the one before it wake the floor."""
KICKS = "outbox"
"""Topic on which the node that sends hears that there is something to send, or what became of a text."""


class _Reported(msgspec.Struct, frozen=True):
    """What became of a text, for the node that sends."""

    message: e.MessageId
    state: TextState
    code: str | None


class House(Protocol):
    """What this needs of the runner."""

    journal: Journal
    floor: Floor
    cluster: Cluster
    roles: Roles
    outbox: Outbox
    hooks: Hooks
    intake: Intake
    clock: Callable[[], float]

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Let *work* run beside the sessions."""

    async def do(self, op: Op) -> Any:
        """Change the floor."""

    async def heal_floor(self) -> None:
        """Compare lines and desks with the sessions."""


class Duties:
    """Those of this node.

    Args:
        house: What they are done with.
    """

    def __init__(self, house: House) -> None:
        self._house = house
        self._sending: Tenure | None = None
        """Of whoever sends texts, while that is this node."""
        self._telling: Tenure | None = None
        """Of whoever tells the hooks, while that is this node."""
        self._floor_moved = asyncio.Event()

    async def run(self) -> None:
        """Do what is this node's to do, until cancelled."""
        hold = self._house.roles.hold
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hold("outbox", self._send))
            tasks.create_task(hold("hooks", self._tell_hooks))
            tasks.create_task(hold("floor", self._heal_floor))
            tasks.create_task(hold("estimates", self._save_estimates))
            tasks.create_task(hold("intake", self._sweep_texts))
            tasks.create_task(self._wake_floor())
            if not self._house.cluster.alone:
                tasks.create_task(self._hear_kicks())

    # --- texts out, and hooks

    @property
    def sends(self) -> bool:
        """Whether it is this node that hands texts over."""
        return self._sending is not None

    def may_send(self) -> bool:
        """Ask right before a text is handed over; see `Tenure.mine`."""
        return self._sending is not None and self._sending.mine()

    def may_tell_hooks(self) -> bool:
        """Ask right before a hook is told; see `Tenure.mine`."""
        return self._telling is not None and self._telling.mine()

    async def _send(self, tenure: Tenure) -> None:
        self._sending = tenure
        try:
            await self._house.outbox.run()
            await asyncio.get_running_loop().create_future()  # it is another node's, and we are about to be told
        finally:
            self._sending = None

    async def _tell_hooks(self, tenure: Tenure) -> None:
        self._telling = tenure
        try:
            await self._house.hooks.run(asyncio.Event())
        finally:
            self._telling = None

    def kick_outbox(self) -> None:
        """There may be a text to send, whichever node does that."""
        self._house.outbox.kick()
        if not self._house.cluster.alone:
            self._house.spawn(self._kick_others())

    async def _kick_others(self, kick: bytes = b"") -> None:
        with contextlib.suppress(ClusterUnavailableError):  # whoever sends looks from time to time
            await self._house.cluster.publish(KICKS, kick)

    async def _hear_kicks(self) -> None:
        """Another node has texts to be sent that belong to no session, or has heard what became of one."""
        while True:
            try:
                async with self._house.cluster.subscribe(KICKS) as kicks:
                    async for kick in kicks:
                        if kick:
                            await self._learn_of(msgspec.json.decode(kick, type=_Reported))
                        self._house.outbox.kick()
            except ClusterUnavailableError:  # said by whoever keeps the connection
                await asyncio.sleep(1.0)

    async def reported(self, message: MessageRow, state: TextState, code: str | None) -> None:
        """Let whoever sends learn from what became of a text: about its recipient, and about our number."""
        if self.sends or self._house.cluster.alone:
            await self._house.outbox.reported(message, state, code)
        else:
            await self._kick_others(msgspec.json.encode(_Reported(message.id, state, code)))

    async def _learn_of(self, report: _Reported) -> None:
        try:
            row = await self._house.journal.message(report.message) if self.sends else None
            if row is not None:
                await self._house.outbox.reported(row, report.state, report.code)
        except JournalError:
            log.warning("report.not_learnt", message=report.message)

    # --- texts in

    async def _sweep_texts(self, _: Tenure) -> None:
        """Take up texts that a node had accepted before it died, or could not give to their session."""
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            try:
                await self._house.intake.sweep(2 * SWEEP_EVERY)
            except JournalError:
                log.warning("text.not_swept")

    # --- the floor

    def floor_has_moved(self) -> None:
        """It may have to be woken sooner than it was said."""
        self._floor_moved.set()

    async def save_estimates(self) -> None:
        """Keep what the wait estimator has learned."""
        await self._house.journal.commit(Unit(kv={"ewt": msgspec.json.encode(self._house.floor.estimator.save())}))

    async def _save_estimates(self, _: Tenure) -> None:
        while True:
            await asyncio.sleep(SAVE_ESTIMATES_EVERY)
            try:
                await self.save_estimates()
            except Exception:  # a minute of learning is not worth the calls in progress
                log.exception("journal.lost_estimates")

    async def _heal_floor(self, _: Tenure) -> None:
        while True:
            await asyncio.sleep(RECONCILE_EVERY)
            try:
                await self._house.heal_floor()
            except Exception:  # calls in progress need not end with it
                log.exception("floor.failed")

    async def _wake_floor(self) -> None:
        """Wake the floor when its clock says so: ring timeouts, wrap-up. One node does, the next when that one does not."""
        house = self._house
        while True:
            self._floor_moved.clear()
            at = house.floor.acd.wake_at
            try:
                async with asyncio.timeout(None if at is None else max(0.0, at - house.clock() + await self._turn())):
                    await self._floor_moved.wait()
            except TimeoutError:
                try:
                    if not await house.do(WakeFloor()):
                        await asyncio.sleep(0.05)  # our clock is ahead of the one that counts
                except Exception:  # whatever it is, it would come again at once, and the calls in progress need not end with it
                    log.exception("floor.failed")
                    await asyncio.sleep(1.0)

    async def _turn(self) -> float:
        """Seconds for which this node lets those before it."""
        cluster = self._house.cluster
        if cluster.alone:
            return 0.0
        try:
            return TURN * sorted(await cluster.nodes()).index(cluster.node)
        except (ClusterUnavailableError, ValueError):
            return TURN
