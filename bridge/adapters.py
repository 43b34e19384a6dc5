"""Adapters made from the settings: what `bridge.app` puts together."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import structlog

from bridge.cluster import Cluster, ClusterUnavailableError, NodeId
from bridge.cluster.memory import Hub, MemoryCluster
from bridge.crm import CrmProvider
from bridge.crm.local import LocalCrm
from bridge.crm.webhook import WebhookCrm
from bridge.floor_ops import FLOOR_VERSION
from bridge.journal import Journal, MessageRow
from bridge.media_links import MediaLinks
from bridge.media_out import OutPlan, plan
from bridge.media_store import Blobs, CommandScanner, DiskBlobs
from bridge.media_store.marks import forget, mark_in, without_mark
from bridge.notices import HookRule
from bridge.outbox import Dress
from bridge.secret import fingerprint
from bridge.settings import MediaSettings, Settings, SettingsError, TwilioSettings
from bridge.telephony.provider import CallSink
from bridge.telephony.sip import SipCallProvider, SipConfig
from bridge.web.server import TwilioConfig
from sms.numbers import look_up
from sms.pacing import Pace, SenderFacts
from sms.provider import ReportSink, SmsProvider, TextSink
from sms.providers.failover import MARK, FailoverSms
from sms.providers.loopback import LoopbackNetwork, LoopbackSms
from sms.providers.twilio import TwilioSms

log = structlog.get_logger()

LOOK_FOR_MARKS_AGAIN = 5.0
"""Seconds until it is looked again for what other nodes have left in a folder."""
SHARE_MEDIA = (
    "pictures that come in at one node are not seen at the others; let all nodes share the data folder, or set media.backend: s3"
)
"""What follows when they keep their files in different folders, and what to do."""


@asynccontextmanager
async def cluster_of(settings: Settings, secret: bytes) -> AsyncIterator[Cluster]:
    """What this node shares with others, if there may be any.

    Raises:
        SettingsError: What that needs is not there.
        ClusterUnavailableError: It does not answer.
    """
    shared = settings.cluster
    if shared.url is None:
        async with MemoryCluster(NodeId("main"), Hub()) as alone:
            yield alone
        return
    try:
        from bridge.cluster.redis import RedisCluster, connect  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise SettingsError("cluster.url: several nodes need the extra redis: pip install 'sidetone[redis]'") from error
    node = NodeId(f"{shared.node_name}-{secrets.token_hex(4)}")  # who comes back is another one
    try:
        client = connect(shared.url.get_secret_value())
    except ValueError as error:
        raise SettingsError(f"cluster.url: {error}") from error
    async with RedisCluster(
        node,
        client,
        namespace=shared.namespace,
        ttl=shared.lease,
        version=f"floor {FLOOR_VERSION}",
        secret=fingerprint(secret),
    ) as cluster:
        yield cluster


@asynccontextmanager
async def crm_of(settings: Settings, journal: Journal, clock: Callable[[], float]) -> AsyncIterator[CrmProvider]:
    """Whoever keeps the customers."""
    outside = settings.crm.webhook
    if settings.crm.provider == "local" or outside is None:
        yield LocalCrm(journal, clock=clock)
        return
    secret = outside.secret.get_secret_value()
    async with WebhookCrm(outside.url, secret, name=settings.crm.name, timeout=outside.timeout, clock=clock) as crm:
        yield crm


def sip_provider(settings: Settings, sink: CallSink, prompts: Path) -> SipCallProvider:
    """Calls over SIP."""
    sip = settings.sip
    config = SipConfig(
        host=sip.host,
        port=sip.port,
        advertised_host=sip.advertised_host,
        rtp_ports=sip.rtp_ports,
        networks=sip.allowed_networks,
        fronts=sip.fronts,
        users={name: None if secret is None else secret.get_secret_value() for name, secret in sip.users.items()},
        media_timeout=sip.media_timeout,
        max_calls=sip.max_calls,
        country_code=sip.country_code,
        outbound=sip.outbound,
        outbound_user=sip.outbound_user,
        outbound_password=None if sip.outbound_password is None else sip.outbound_password.get_secret_value(),
        music=str(prompts / "music"),
    )
    return SipCallProvider(config, sink, prompts)


def sms_provider(
    settings: Settings, network: LoopbackNetwork, on_text: TextSink, on_report: ReportSink, clock: Callable[[], float]
) -> SmsProvider:
    """Who carries texts; with a second account behind the first where there is one."""
    twilio = settings.twilio
    if settings.sms.provider == "loopback" or twilio is None:
        return LoopbackSms(network, on_text=on_text, on_report=on_report)
    first = _twilio(settings, twilio, twilio.account_sid, twilio.auth_tokens[0].get_secret_value(), clock)
    second = twilio.fallback
    if second is None:
        return first
    other = _twilio(settings, twilio, second.account_sid, second.auth_tokens[0].get_secret_value(), clock)
    # The numbers are the first account's, so the second lets its service choose one of its own.
    return FailoverSms(first, other, frozenset(second.when), sender=second.messaging_service_sid, clock=clock)


def _twilio(settings: Settings, twilio: TwilioSettings, account: str, token: str, clock: Callable[[], float]) -> TwilioSms:
    return TwilioSms(
        account_sid=account,
        auth_token=token,
        messaging_service_sid=twilio.messaging_service_sid if account == twilio.account_sid else None,
        status_url=f"{(settings.public_url or '').rstrip('/')}/twilio/sms/status",
        api_base_url=twilio.api_base_url,
        request_timeout=twilio.timeout,
        listed_within=settings.sms.reconcile_after,
        clock=clock,
    )


def twilio_webhooks(settings: Settings) -> TwilioConfig | None:
    """Whose webhooks are believed; None: there are none."""
    twilio = settings.twilio
    if twilio is None:
        return None
    second = twilio.fallback
    tokens = (*twilio.auth_tokens, *(() if second is None else second.auth_tokens))
    marks = {} if second is None or second.account_sid == twilio.account_sid else {second.account_sid: MARK}
    return TwilioConfig(
        auth_tokens=tuple(token.get_secret_value() for token in tokens),
        accounts=frozenset({twilio.account_sid, *marks}),
        marks=marks,
    )


def pace_of(settings: Settings) -> Pace | None:
    """How fast our numbers may text; None: as fast as it goes."""
    if not settings.sms.limiter or settings.sms.provider == "loopback":
        return None  # nobody but carriers has limits
    return Pace(senders_of(settings))


def senders_of(settings: Settings) -> tuple[SenderFacts, ...]:
    """What is known of our numbers."""
    return tuple(
        SenderFacts(
            number=number.number,
            sender_class=number.sender.kind,
            brand=number.sender.brand,
            campaign=number.sender.campaign,
            registered=number.sender.registered,
            per_second=number.sender.per_second,
            per_day=number.sender.per_day,
        )
        for number in settings.numbers
    )


def hook_rules_of(settings: Settings) -> tuple[HookRule, ...]:
    """What each endpoint wants to be told.

    Raises:
        SettingsError: An endpoint wants what there is not.
    """
    rules = []
    for hook in settings.hooks:
        try:
            rules.append(HookRule(hook.name, hook.events))
        except ValueError as error:
            raise SettingsError(f"hooks: {hook.name}: {error}") from error
    return tuple(rules)


def blobs_of(media: MediaSettings, folder: Path) -> Blobs:
    """Where files are kept."""
    if media.backend == "disk":
        return DiskBlobs(folder)
    from bridge.media_store.s3 import S3Blobs, S3Config  # noqa: PLC0415  # an extra that most do without

    assert media.bucket is not None
    assert media.access_key is not None
    assert media.secret_key is not None
    return S3Blobs(
        S3Config(
            bucket=media.bucket,
            access_key=media.access_key.get_secret_value(),
            secret_key=media.secret_key.get_secret_value(),
            region=media.region,
            url=media.url,
        )
    )


@asynccontextmanager
async def marked(media: MediaSettings, folder: Path, cluster: Cluster) -> AsyncIterator[None]:
    """Let other nodes see, while the block lasts, that this one keeps its files in this folder."""
    async with AsyncExitStack() as stack:
        if media.backend == "disk" and not cluster.alone:
            try:
                stack.enter_context(mark_in(folder, cluster.node))
            except OSError as error:
                log.warning("media.not_marked", folder=str(folder), reason=str(error))
        yield


async def look_for_marks(media: MediaSettings, folder: Path, cluster: Cluster, *, again: float = LOOK_FOR_MARKS_AGAIN) -> None:
    """Say so when other nodes keep their files elsewhere: what a customer sends would be seen at one node only.

    Args:
        media: Its settings.
        folder: Of this node.
        cluster: The other nodes; this one has joined.
        again: Seconds after which it is looked again, because a folder that is shared may be slow to show what is new.
    """
    if media.backend != "disk" or cluster.alone:
        return
    try:
        nodes = await cluster.nodes()
        if elsewhere := await asyncio.to_thread(without_mark, folder, nodes):
            await asyncio.sleep(again)
            nodes = await cluster.nodes()
            elsewhere = [node for node in await asyncio.to_thread(without_mark, folder, nodes) if node in elsewhere]
        await asyncio.to_thread(forget, folder, nodes)
    except (OSError, ClusterUnavailableError) as error:
        log.warning("media.not_compared", reason=str(error))
        return
    if elsewhere:
        log.warning("media.not_shared", nodes=elsewhere, folder=str(folder), remedy=SHARE_MEDIA)


def scanner_of(media: MediaSettings, folder: Path) -> CommandScanner | None:
    """What looks for viruses; None: nothing does."""
    return CommandScanner(media.scan, folder=folder) if media.scan else None


def dress_of(settings: Settings, provider: SmsProvider, links: MediaLinks) -> Dress:
    """How texts with pictures go out."""

    def dress(message: MessageRow, at: float) -> OutPlan:
        country = look_up(message.recipient, region=settings.country).country
        expires_at = at + settings.media.link_valid
        return plan(
            message.body,
            message.media,
            country,
            provider.capabilities,
            lambda item, variant: links.url(item, expires_at=expires_at, variant=variant),
        )

    return dress
