"""Twilio's webhooks: verify, parse, keep, answer. Nothing is acknowledged before the journal has it on disk."""

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl

import structlog
from aiohttp import web

from bridge.web.http import read_capped
from bridge.web.metrics import WebMetrics
from bridge.web.ports import Intake
from sms.providers.twilio import EMPTY_TWIML, NO_MARKS, SignatureVerifier, parse_form, parse_inbound, parse_status

log = structlog.get_logger(__name__)

BODY_LIMIT = 64 * 1024
"""Bytes. The largest genuine webhook (1600 characters, ten pictures) is under 10 KiB; more is not worth parsing."""

# Our own texts go through the outbox, so a webhook's answer never carries a message: one path for status and suppression.


class TwilioWebhooks:
    """Inbound texts and delivery reports.

    Args:
        intake: Keeps what arrived.
        verifier: Checks `X-Twilio-Signature` against every accepted token.
        accounts: Account SIDs whose webhooks are ours; checked after the signature.
        metrics: Counts refusals by reason.
        now: Seconds since the Unix epoch.
        marks: By AccountSid, what to put before its refs, where there are several accounts.
    """

    def __init__(
        self,
        intake: Intake,
        verifier: SignatureVerifier,
        accounts: frozenset[str],
        metrics: WebMetrics,
        now: Callable[[], float],
        marks: Mapping[str, str] = NO_MARKS,
    ) -> None:
        self._intake = intake
        self._verifier = verifier
        self._accounts = accounts
        self._metrics = metrics
        self._now = now
        self._marks = marks

    def routes(self) -> list[web.RouteDef]:
        """The text webhooks."""
        return [web.post("/twilio/sms", self._sms), web.post("/twilio/sms/status", self._status)]

    async def _sms(self, request: web.Request) -> web.Response:
        form = await self._genuine_form(request)
        if isinstance(form, web.Response):
            return form
        try:
            text = parse_inbound(form, now=self._now(), marks=self._marks)
        except ValueError as error:
            return self._refuse("malformed", 400, str(error))
        try:
            new = await self._intake.text_arrived(text)
        except Exception:
            # Twilio asks again on 5xx (`rp=5xx` in the URL we register); any other answer would lose the text.
            log.exception("webhook.not_kept", route="/twilio/sms")
            return web.Response(status=503, headers={"Retry-After": "2"})
        if not new:
            self._metrics.webhook_repeats.inc()
        return web.Response(text=EMPTY_TWIML, content_type="text/xml", charset="utf-8")

    async def _status(self, request: web.Request) -> web.Response:
        form = await self._genuine_form(request)
        if isinstance(form, web.Response):
            return form
        query = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True)
        try:
            report = parse_status(form, query, now=self._now(), marks=self._marks)
        except ValueError as error:
            # A report we cannot read today will not be readable tomorrow: asking for it again helps nobody.
            log.warning("webhook.status_unreadable", reason=str(error))
            return web.Response(status=204)
        try:
            await self._intake.text_reported(report)
        except Exception:
            log.exception("webhook.not_kept", route="/twilio/sms/status")
            return web.Response(status=503, headers={"Retry-After": "2"})
        return web.Response(status=204)

    async def _genuine_form(self, request: web.Request) -> Sequence[tuple[str, str]] | web.Response:
        """The form fields in order, or the refusal."""
        body = await read_capped(request, BODY_LIMIT)
        if body is None:
            return self._refuse("too_long", 413)
        content_type = request.headers.get("Content-Type", "")
        try:
            form = parse_form(body)
        except ValueError:
            return self._refuse("too_many_fields", 413)
        signature = request.headers.get("X-Twilio-Signature")
        if not self._verifier.verify(request.raw_path, form, body, signature, content_type):
            return self._refuse("no_signature" if signature is None else "bad_signature", 403)
        if self._accounts and next((value for name, value in form if name == "AccountSid"), None) not in self._accounts:
            return self._refuse("foreign_account", 403)
        return form

    def _refuse(self, reason: str, status: int, detail: str = "") -> web.Response:
        self._metrics.webhooks_refused.labels(reason).inc()
        log.warning("webhook.refused", reason=reason, status=status, detail=detail)
        return web.Response(status=status)
