"""The log that all nodes apply, on a Redis stream.

Everything is under one hash tag:

- `…:{log}`, the stream. An entry says its epoch (`e`), its number in the log (`n`, one higher than the one before it), who
  appended it (`node`), which of that node's entries it is (`op`) and what it says (`body`).
- `…:{log}:epoch`, a hash: `id` of the epoch, `version` and `secret` (its fingerprint) of the nodes, `seq` and `last` (number and
  stream id of the last entry), and the newest `snapshot` with the number (`saved`) and stream id (`pos`) of the entry up to which
  it goes.
- `…:{log}:ops`, a hash: of each node, the number of the last of its entries that is in the log. So an entry that is sent twice,
  because its answer was lost, gets in once.

Redis may lose all of this, or its last moments. A node recognises it: another epoch, a number that is missing, a log that ends
before what the node has applied. Then the first node to see it begins a new epoch with its own copy, and the others load that.
"""

import asyncio
import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol

import msgspec
import structlog

from bridge.cluster import (
    PATIENCE,
    ClusterSecretError,
    ClusterUnavailableError,
    ClusterVersionError,
    Entry,
    Lease,
    NodeId,
    Replica,
)
from bridge.cluster.leases import kept
from bridge.cluster.redis_door import Client, Reach, answering, read, servers, stop, uptime

log = structlog.get_logger()

READ_AT_ONCE = 200
"""Entries fetched in one question."""
LOOK_EVERY = 1.0
"""Seconds without an entry after which a node looks whether the log is still the one it follows."""
WRITE_AT_ONCE = 200
LARGEST_WRITE = 1_000_000
"""Entries, and bytes, put into the log in one question."""
SNAPSHOT_EVERY = 1000
SNAPSHOT_AFTER = 30.0
"""Entries, and seconds when there are fewer, after which there is a new snapshot."""
LARGEST_SHARE = 0.01
"""Of the time may go into copying, because nothing else happens meanwhile."""
KEPT = 4096
"""Entries that stay behind a snapshot, for nodes that are slow."""
TRY_AGAIN_AFTER = 0.1
"""Seconds."""
BEGINNING = b"0-0"

_APPEND = """
local head = redis.call('HMGET', KEYS[2], 'id', 'seq')
if head[1] ~= ARGV[1] then return 0 end
local seq, last = tonumber(head[2]), false
local op = tonumber(redis.call('HGET', KEYS[3], ARGV[2]) or 0)
for i = 3, #ARGV, 2 do
  if tonumber(ARGV[i]) > op then
    op, seq = tonumber(ARGV[i]), seq + 1
    last = redis.call('XADD', KEYS[1], '*', 'e', ARGV[1], 'n', seq, 'node', ARGV[2], 'op', op, 'body', ARGV[i + 1])
  end
end
if last then
  redis.call('HSET', KEYS[2], 'seq', seq, 'last', last)
  redis.call('HSET', KEYS[3], ARGV[2], op)
end
return 1
"""
_READ = """
local head = redis.call('HMGET', KEYS[2], 'id', 'version', 'seq', 'last', 'saved', 'pos', 'snapshot', 'secret')
if not head[1] then return false end
head[9] = redis.call('XRANGE', KEYS[1], '(' .. head[6], '+')
return head
"""
_FOUND = """
local head = redis.call('HMGET', KEYS[2], 'id', 'seq')
if head[1] == ARGV[3] then return 1 end
if (head[1] or '') ~= ARGV[1] or (head[2] or '') ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[2], 'id', ARGV[3], 'version', ARGV[4], 'seq', ARGV[5], 'last', '0-0',
  'saved', ARGV[5], 'pos', '0-0', 'snapshot', ARGV[6], 'secret', ARGV[7])
for i = 8, #ARGV, 2 do redis.call('HSET', KEYS[3], ARGV[i], ARGV[i + 1]) end
return 1
"""
_SAVE = """
local head = redis.call('HMGET', KEYS[2], 'id', 'seq', 'saved')
if head[1] ~= ARGV[1] or tonumber(ARGV[2]) <= tonumber(head[3]) then return 0 end
local there = redis.call('XRANGE', KEYS[1], ARGV[3], ARGV[3])[1]
if not there or there[2][2] ~= ARGV[1] or there[2][4] ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[2], 'saved', ARGV[2], 'pos', ARGV[3], 'snapshot', ARGV[4])
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', tonumber(head[2]) - tonumber(ARGV[2]) + tonumber(ARGV[5]))
return 1
"""

_TIME = "return redis.call('TIME')"
"""Of the server that has the log."""


class Saved(msgspec.Struct, frozen=True):
    """What a node has to know to go on from a place in the log."""

    seq: int
    at: float
    ops: dict[str, int]
    """By node, the last of its entries."""
    state: bytes
    """Of the replica."""


class _Written(msgspec.Struct, frozen=True):
    """An entry as it stands in the stream."""

    id: bytes
    epoch: bytes
    seq: int
    node: NodeId
    op: int
    body: bytes


class _Found(msgspec.Struct, frozen=True):
    """What is in Redis."""

    epoch: bytes
    version: str
    secret: str
    """Its fingerprint; empty: none was told."""
    seq: int
    position: bytes
    """Stream id up to which the snapshot goes."""
    saved: Saved
    entries: list[_Written]
    """After the snapshot."""

    @property
    def whole(self) -> bool:
        """Is every entry after the snapshot there?"""
        there = [(entry.epoch, entry.seq) for entry in self.entries]
        return there == [(self.epoch, seq) for seq in range(self.saved.seq + 1, self.seq + 1)]


class _Own:
    """An entry of this node that has not been applied here yet."""

    def __init__(self, op: int, body: bytes) -> None:
        self.op = op
        self.body = body
        self.written = False
        self.applied: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def fail(self, why: str) -> None:
        if not self.applied.done():
            self.applied.set_exception(ClusterUnavailableError(why))


class Place(Protocol):
    """What this needs of the node's cluster."""

    node: NodeId

    async def acquire(self, name: str, ttl: float) -> Lease | None:
        """See `Cluster.acquire`."""

    async def renew(self, lease: Lease, ttl: float) -> bool:
        """See `Cluster.renew`."""

    def valid(self, lease: Lease) -> bool:
        """See `Cluster.valid`."""

    async def release(self, lease: Lease) -> None:
        """See `Cluster.release`."""

    async def nodes(self) -> frozenset[NodeId]:
        """See `Cluster.nodes`."""

    async def show(self, *, joined: bool) -> None:
        """Give a sign of life, as one of the nodes or as none of them any more."""


class RedisLog:
    """One node's part in the log.

    Args:
        place: Its place among the others.
        client: Redis.
        namespace: Before every key.
        reach: Told when Redis does not answer.
        version: Nodes with another one may not join.
        secret: Fingerprint of the nodes' secret; who has another one may not join.
        ttl: Seconds after which a silent node counts as gone.
        snapshot_every: Entries between two snapshots.
        kept: Entries that stay behind a snapshot.
    """

    def __init__(
        self,
        place: Place,
        client: Client,
        namespace: str,
        reach: Reach,
        *,
        version: str,
        secret: str,
        ttl: float,
        snapshot_every: int = SNAPSHOT_EVERY,
        kept: int = KEPT,
    ) -> None:
        self._place = place
        self._reach = reach
        self._client = client
        self._redis: Any = client  # its types do not know that it answers in bytes
        self._version = version
        self._secret = secret
        self._ttl = ttl
        self._snapshot_every = snapshot_every
        self._kept = kept
        self._stream = f"{namespace}:{{log}}"
        self._head = epoch_of(namespace)
        self._keys = [self._stream, self._head, f"{self._stream}:ops"]
        self._append = client.register_script(_APPEND)
        self._read = client.register_script(_READ)
        self._found = client.register_script(_FOUND)
        self._save = client.register_script(_SAVE)
        self._time = client.register_script(_TIME)
        self._replica: Replica | None = None
        """None: not joined."""
        self._founding: float | None = None
        """What is to be added to `uptime` for Redis's time, while this node founds the log; None: it does not."""
        self._filled = False
        """The replica is what the founder makes of it."""
        self._epoch = b""
        self._last = BEGINNING
        """Stream id of the last entry applied."""
        self._seq = 0
        self._at = 0.0
        self._ops: dict[str, int] = {}
        self._op = 0
        self._own: dict[int, _Own] = {}
        self._to_write = asyncio.Event()
        self._dumping_took = 0.0
        self.behind = 0
        """Entries in the log that were not applied here when this node last looked."""
        self._lost_at: float | None = None
        """When this node last saw that another log was there, or none, or that another server answers; None: never."""
        self._servers = frozenset[str]()
        """Run ids of those that answered last."""
        self._waited_at: int | None = None
        """The last entry applied when Redis had more, and did not give it."""

    # --- joining

    @asynccontextmanager
    async def joined(self, replica: Replica, founder: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """See `Cluster.joined`."""
        await self._join(replica, founder)
        owner = asyncio.current_task()
        assert owner is not None
        before, failures = owner.cancelling(), list[BaseException]()

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                failures.append(error)
                owner.cancel()

        tasks = [
            asyncio.create_task(work(), name=f"cluster {work.__name__}") for work in (self._follow, self._write, self._keep_saved)
        ]
        for task in tasks:
            task.add_done_callback(ended)
        try:
            yield
        except asyncio.CancelledError:
            if failures and owner.uncancel() <= before:
                raise failures[0] from None
            raise
        finally:
            self._replica = None
            for task in tasks:
                task.remove_done_callback(ended)
            await stop(*tasks)
            for own in self._own.values():
                own.fail("this node has left")
            await self._place.show(joined=False)

    async def _join(self, replica: Replica, founder: Callable[[], Awaitable[None]]) -> None:
        """One node at a time, so that two that start together do not both found."""
        # Nodes of another version, or with another secret, may be dead already, and are only not known to be.
        patient_until = uptime() + 1.5 * self._ttl
        while True:
            lease = await self._place.acquire("role:founder", self._ttl)
            if lease is not None:
                try:
                    self._replica = replica
                    async with kept(self._place, lease, self._ttl):  # when it is lost, our epoch is refused
                        if await self._try_join(replica, founder, patient=uptime() < patient_until):
                            self._servers = frozenset(await servers(self._client))
                            await self._place.show(joined=True)
                            return
                except BaseException:
                    self._replica = None
                    raise
                finally:
                    with suppress(ClusterUnavailableError):  # it runs out
                        await self._place.release(lease)
            await asyncio.sleep(TRY_AGAIN_AFTER)

    async def _try_join(self, replica: Replica, founder: Callable[[], Awaitable[None]], *, patient: bool) -> bool:
        found = await self._look()
        if await self._place.nodes():
            if found is None:
                return False  # lost, but they are about to begin anew
            if patient and not self._is_of_us(found):
                return False
            self._must_be_of_us(found)
            if not found.whole:
                return False
            self._adopt(replica, found)
            return True
        async with answering():
            seconds, micros = map(int, await self._time(keys=[self._stream]))
        if not self._filled:
            self._founding = seconds + micros / 1e6 - uptime()
            try:
                await founder()
            finally:
                self._founding = None
            self._filled = True
        # False: another node has founded meanwhile, because this one was silent for too long.
        return await self._begin(replica, found)

    def _is_of_us(self, found: _Found) -> bool:
        return found.version == self._version and found.secret in {"", self._secret}

    def _must_be_of_us(self, found: _Found) -> None:
        if found.version != self._version:
            raise ClusterVersionError(self._version, found.version)
        if not self._is_of_us(found):
            raise ClusterSecretError

    async def steady(self) -> bool:
        """See `Cluster.steady`."""
        if self._replica is None:
            return True
        async with answering():
            epoch = await self._redis.hget(self._head, "id")
        # A replica that has taken over may not have heard of the last leases, even though it has the whole log.
        answering_now = frozenset(await servers(self._client))
        if answering_now != self._servers:
            self._servers, self._lost_at = answering_now, uptime()
        # Who was granted a lease by a Redis that has lost everything sees here that there is no log, or another one.
        return epoch == self._epoch and (self._lost_at is None or uptime() - self._lost_at >= self._ttl)

    @property
    def applied(self) -> int:
        """Number of the last entry applied."""
        return self._seq

    async def measure(self) -> None:
        """See how far behind this node is."""
        async with answering():
            epoch, seq = await self._redis.hmget(self._head, "id", "seq")
        if epoch == self._epoch:  # or whoever follows is about to see that it is another log
            self.behind = max(0, int(seq) - self._seq)

    # --- following

    async def _follow(self) -> None:
        replica = self._replica
        assert replica is not None
        sure = True
        while True:
            try:
                if not sure:
                    await self._make_sure(replica)
                found = await read(self._client, self._stream, self._last, READ_AT_ONCE, LOOK_EVERY)
                entries = [_written(id_, fields) for id_, fields in found]
                sure = bool(entries)
                if not self._take(replica, entries):
                    await self._recover(replica)
            except ClusterUnavailableError as error:
                self._reach.lost(error)
                sure = False
                await asyncio.sleep(TRY_AGAIN_AFTER)

    def _take(self, replica: Replica, entries: Sequence[_Written]) -> bool:
        """Apply what has come; False: it does not follow on what was applied before."""
        for entry in entries:
            if entry.epoch != self._epoch or entry.seq != self._seq + 1:
                return False
            self._last, self._seq, self._ops[entry.node] = entry.id, entry.seq, entry.op
            self._at = max(self._at, int(entry.id.partition(b"-")[0]) / 1000)
            self._apply(replica, entry)
        return True

    def _apply(self, replica: Replica, entry: _Written) -> None:
        own = self._own.get(entry.op) if entry.node == self._place.node else None
        try:
            result = replica.apply(Entry(_position(entry.seq), self._at, entry.node, entry.body))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is for who appended it
            if own is not None and not own.applied.done():
                own.applied.set_exception(error)
            else:
                log.debug("cluster.entry_refused", node=entry.node, reason=repr(error))
        else:
            if own is not None and not own.applied.done():
                own.applied.set_result(result)

    async def _make_sure(self, replica: Replica) -> None:
        """Is the log still the one that was followed, up to the last entry applied?"""
        async with answering():
            epoch, seq, last = await self._redis.hmget(self._head, "id", "seq", "last")
        if epoch == self._epoch:
            if int(seq) == self._seq and last == self._last:
                return
            if int(seq) > self._seq and self._waited_at != self._seq:
                self._waited_at = self._seq  # the next question must bring it
                return
        await self._recover(replica)

    async def _recover(self, replica: Replica) -> None:
        """The log is not the one that was followed: go by the one that there is, or begin a new one."""
        while True:
            found = await self._look()
            lost = found is None or not found.whole or (found.epoch == self._epoch and found.seq < self._seq)
            if lost or found is None or found.epoch != self._epoch:
                self._lost_at = uptime()
            if found is not None and not lost:
                self._must_be_of_us(found)
                self._adopt(replica, found)
                break
            if await self._begin(replica, found):
                break
        replica.refounded()
        log.warning("cluster.log_reloaded", begun_here=lost, position=_position(self._seq))
        await self._place.show(joined=True)  # that may be lost as well

    async def _look(self) -> _Found | None:
        async with answering():
            head = await self._read(keys=self._keys)
        if head is None:
            return None
        epoch, version, seq, _, _, position, snapshot, secret, raw = head
        entries = [_written(id_, dict(zip(fields[::2], fields[1::2], strict=True))) for id_, fields in raw]
        saved = msgspec.msgpack.decode(snapshot, type=Saved)
        return _Found(epoch, version.decode(), (secret or b"").decode(), int(seq), position, saved, entries)

    def _adopt(self, replica: Replica, found: _Found) -> None:
        """Become what the others are."""
        self._epoch, self._last = found.epoch, found.position
        self._seq, self._at, self._ops = found.saved.seq, found.saved.at, dict(found.saved.ops)
        replica.load(found.saved.state)
        done = self._ops.get(self._place.node, 0)
        for own in self._own.values():
            if own.op <= done:
                own.fail("it is done, but what came of it is not known here")
        self._take(replica, found.entries)
        self._write_again()

    async def _begin(self, replica: Replica, instead_of: _Found | None) -> bool:
        """Begin a new epoch with our copy; False: another node was faster."""
        expected = ("", "") if instead_of is None else (instead_of.epoch, instead_of.seq)
        epoch = secrets.token_hex(8).encode()
        ops = [part for pair in self._ops.items() for part in pair]
        snapshot = msgspec.msgpack.encode(self._now(replica))
        told: list[bytes | str | int] = [epoch, self._version, self._seq, snapshot, self._secret]
        async with answering():
            founded = await self._found(keys=self._keys, args=[*expected, *told, *ops])
        if founded:
            self._epoch, self._last = epoch, BEGINNING
            self._write_again()
        return bool(founded)

    def _now(self, replica: Replica) -> Saved:
        return Saved(self._seq, self._at, self._ops, replica.dump())

    # --- appending

    async def append(self, body: bytes, patience: float | None) -> Any:
        """See `Cluster.append`."""
        if self._founding is not None and self._replica is not None:
            self._seq += 1
            self._at = max(self._at, uptime() + self._founding)
            return self._replica.apply(Entry(_position(self._seq), self._at, self._place.node, body))
        if self._replica is None:
            raise ClusterUnavailableError("this node has not joined")
        seconds = PATIENCE if patience is None else patience
        self._op += 1
        own = self._own[self._op] = _Own(self._op, body)
        self._to_write.set()
        giving_up = None
        if seconds < math.inf:
            giving_up = asyncio.get_running_loop().call_later(
                seconds, own.fail, f"not in the log and applied within {seconds:g} s"
            )
        try:
            return await own.applied
        finally:
            del self._own[own.op]
            if giving_up is not None:
                giving_up.cancel()

    def _write_again(self) -> None:
        """Whatever has not been applied may not be in this log; Redis knows what is."""
        for own in self._own.values():
            own.written = False
        self._to_write.set()

    async def _write(self) -> None:
        while True:
            batch = self._batch()
            if not batch:
                self._to_write.clear()
                await self._to_write.wait()
                continue
            epoch, parts = self._epoch, [part for own in batch for part in (own.op, own.body)]
            try:
                async with answering():
                    written = await self._append(keys=self._keys, args=[epoch, self._place.node, *parts])
            except ClusterUnavailableError as error:
                self._reach.lost(error)
                await asyncio.sleep(TRY_AGAIN_AFTER)
                continue
            if not written:  # it is another log now; whoever follows it is about to see that
                await asyncio.sleep(TRY_AGAIN_AFTER)
            elif epoch == self._epoch:
                for own in batch:
                    own.written = True

    def _batch(self) -> list[_Own]:
        batch, size = list[_Own](), 0
        for own in self._own.values():
            if own.written or own.applied.done():
                continue
            if batch and (len(batch) >= WRITE_AT_ONCE or size + len(own.body) > LARGEST_WRITE):
                break
            batch.append(own)
            size += len(own.body)
        return batch

    # --- snapshots

    async def _keep_saved(self) -> None:
        """Whoever has this role writes a snapshot from time to time, and throws away what stands before it."""
        lease: Lease | None = None
        since = uptime()
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                if lease is None or not await self._place.renew(lease, self._ttl):
                    lease = await self._place.acquire("role:snapshot", self._ttl)
                if lease is not None:
                    since = await self._save_when_due(since)
            except ClusterUnavailableError as error:
                log.debug("cluster.not_saved", reason=str(error))

    async def _save_when_due(self, since: float) -> float:
        """Returns since when there is something to be saved."""
        async with answering():
            saved = int(await self._redis.hget(self._head, "saved") or 0)
        new = self._seq - saved
        if new <= 0:
            return uptime()
        waited = uptime() - since
        if waited < SNAPSHOT_AFTER and (new < self._snapshot_every or waited < self._dumping_took / LARGEST_SHARE):
            return since
        assert self._replica is not None
        epoch, seq, last, began = self._epoch, self._seq, self._last, uptime()
        snapshot = msgspec.msgpack.encode(self._now(self._replica))
        self._dumping_took = uptime() - began
        async with answering():
            await self._save(keys=self._keys, args=[epoch, seq, last, snapshot, self._kept])
        return uptime()


def epoch_of(namespace: str) -> str:
    """The key under which stands what log there is, and whose."""
    return f"{namespace}:{{log}}:epoch"


def _written(id_: bytes, fields: Mapping[bytes, bytes]) -> _Written:
    return _Written(id_, fields[b"e"], int(fields[b"n"]), NodeId(fields[b"node"].decode()), int(fields[b"op"]), fields[b"body"])


def _position(seq: int) -> str:
    return f"{seq:016d}"
