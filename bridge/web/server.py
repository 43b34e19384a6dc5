"""Puts the pages, the webhooks, the API and the health routes together into one aiohttp application."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import structlog
from aiohttp import web
from aiohttp.hdrs import METH_ALL
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler, Middleware
from prometheus_client import CollectorRegistry

from bridge.journal import JournalUnavailableError
from bridge.media_links import MediaLinks
from bridge.media_store import MediaStore
from bridge.uploads import Uploads
from bridge.web.api import Api
from bridge.web.console.account import AccountPages
from bridge.web.console.admin import AdminPages
from bridge.web.console.calls import CallPages
from bridge.web.console.contacts import ContactPages
from bridge.web.console.desk import DeskPages
from bridge.web.console.ewt import EwtPages
from bridge.web.console.guard import Guard
from bridge.web.console.phone import PhoneLine, PhonePages
from bridge.web.console.reports import ReportPages
from bridge.web.console.signin import SignInPages
from bridge.web.console.supervisor import SupervisorPages
from bridge.web.console.views import STATIC_FOLDER, set_up_templates
from bridge.web.health import Health
from bridge.web.http import SECURITY_HEADERS
from bridge.web.media import SharedMediaPages
from bridge.web.metrics import WebMetrics
from bridge.web.ports import Desk, Intake, Records
from bridge.web.ports_admin import Administration
from bridge.web.ports_calls import Calls
from bridge.web.ports_contacts import ContactParts
from bridge.web.ports_ewt import Waits
from bridge.web.ports_reports import Reporting
from bridge.web.ports_supervisor import Supervising
from bridge.web.uploads import UploadPages
from bridge.web.webhooks import TwilioWebhooks
from sms.providers.twilio import SignatureVerifier

log = structlog.get_logger(__name__)

SESSION_LIFETIME = 12 * 3600.0
"""Seconds after which whoever signed in has to do it again."""
_QUIET_ROUTES = ("/healthz", "/readyz", "/metrics", "/static", "/prompts")


class TwilioConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to believe a webhook."""

    auth_tokens: tuple[str, ...]
    """Every token in use; during a rotation there are two."""
    accounts: frozenset[str]
    """Account SIDs whose webhooks are ours."""
    marks: Mapping[str, str] = {}
    """By AccountSid, what to put before refs so that later requests go to that account."""

    def __repr__(self) -> str:
        return f"TwilioConfig(accounts={set(self.accounts)!r})"  # not the tokens: this ends up in logs


class WebConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How the web side behaves."""

    prompts: Path
    """Folder of recordings, served under `/prompts/`."""
    public_url: str | None = None
    """How the outside reaches this server (scheme, host, maybe a path). Twilio's signatures are made over it."""
    twilio: TwilioConfig | None = None
    """None: the Twilio webhooks do not exist."""
    secure_cookies: bool = False
    """Cookies only travel over HTTPS."""
    phone_for_everybody: bool = False
    """Serve `/phone` to other machines too. It needs no sign-in: whoever reaches it can call and text as any number."""
    brand: str = "Sidetone"
    """Who customers believe to talk to; the pages for them say it."""
    session_lifetime: float = SESSION_LIFETIME
    """Seconds after which an agent has to sign in again."""

    def __repr__(self) -> str:
        return f"WebConfig(public_url={self.public_url!r}, twilio={self.twilio!r})"  # not the tokens, as above


def make_app(  # noqa: C901  # part after part, most of which may be missing
    desk: Desk,
    intake: Intake,
    records: Records,
    phone: PhoneLine | None,
    config: WebConfig,
    *,
    registry: CollectorRegistry,
    now: Callable[[], float] = time.time,
    api: Api | None = None,
    uploads: Uploads | None = None,
    shared: tuple[MediaLinks, MediaStore] | None = None,
    supervising: Supervising | None = None,
    waits: Waits | None = None,
    administration: Administration | None = None,
    contacts: ContactParts | None = None,
    calls: Calls | None = None,
    reporting: Reporting | None = None,
) -> web.Application:
    """The whole web side.

    Args:
        desk: What agents see and do.
        intake: Where texts from webhooks are kept.
        records: What the health routes and the pictures are read from.
        phone: The engineer's phone; None: `/phone` does not exist.
        config: See `WebConfig`.
        registry: Where the web counts, and what `/metrics` shows.
        now: The clock that sessions of agents and time stamps go by.
        api: What programs may do; None: `/api/v1` does not exist.
        uploads: Links by which customers send files; None: `/u/` does not exist.
        shared: Signed addresses of media and where the media are; None: only signed-in agents see any.
        supervising: What supervisors see and do; None: `/supervisor` does not exist.
        waits: Waiting times and how good they were; None: `/ewt` does not exist.
        administration: Accounts, published settings, tokens; None: passwords are those of the settings, and nothing changes here.
        contacts: The people who call and text; None: `/contacts` does not exist, and the desk knows names only.
        reporting: Who makes reports; None: `/reports` does not exist.
        calls: What agents do with calls beside talking; None: nothing.

    Raises:
        ValueError: Twilio is configured without a `public_url`.
    """
    metrics = WebMetrics(registry)
    app = web.Application(middlewares=[_request_log(metrics)])
    app.on_response_prepare.append(_add_headers)
    set_up_templates(app)
    app.add_routes(Health(records, registry).routes())
    if config.twilio is not None:
        if config.public_url is None:
            raise ValueError("Twilio's webhooks need public_url: signatures are made over it")
        verifier = SignatureVerifier(config.twilio.auth_tokens, config.public_url)
        app.add_routes(TwilioWebhooks(intake, verifier, config.twilio.accounts, metrics, now, marks=config.twilio.marks).routes())
    if api is not None:
        app.add_routes(api.routes())
    if uploads is not None:
        app.add_routes(UploadPages(uploads, brand=config.brand, now=now).routes())
    if shared is not None:
        app.add_routes(SharedMediaPages(*shared, now=now).routes())
    sign_in = SignInPages(
        desk,
        public_url=config.public_url,
        secure_cookies=config.secure_cookies,
        session_lifetime=config.session_lifetime,
        now=now,
        people=None if administration is None else administration.people,
    )
    app.middlewares.append(sign_in.recall)
    app.add_routes(sign_in.routes())
    if administration is not None:
        app.add_routes(AccountPages(sign_in, administration.people, public_url=config.public_url, now=now).routes())
        app.add_routes(AdminPages(Guard(sign_in), administration, public_url=config.public_url, now=now).routes())
    if calls is not None:
        app.add_routes(CallPages(calls, Guard(sign_in)).routes())
    pages = DeskPages(
        desk,
        sign_in,
        metrics,
        public_url=config.public_url,
        now=now,
        supervising=supervising,
        contact_cards=contacts is not None,
        calls=calls,
        reporting=reporting,
        people=None if administration is None else administration.people,
    )
    app.add_routes(pages.routes())
    app.on_shutdown.append(pages.close_sockets)
    if contacts is not None:
        app.add_routes(ContactPages(contacts, desk, Guard(sign_in)).routes())
    if reporting is not None:
        app.add_routes(ReportPages(reporting, sign_in, now).routes())
    if waits is not None:
        app.add_routes(EwtPages(waits, sign_in, now).routes())
    if supervising is not None:
        boards = SupervisorPages(supervising, sign_in, metrics, public_url=config.public_url, now=now)
        app.add_routes(boards.routes())
        app.on_shutdown.append(boards.close_sockets)
    if phone is not None:
        phone_pages = PhonePages(phone, metrics, public_url=config.public_url, for_everybody=config.phone_for_everybody)
        app.add_routes(phone_pages.routes())
        app.on_shutdown.append(phone_pages.close_sockets)
    app.router.add_static("/static", STATIC_FOLDER, name="static", append_version=True)
    app.router.add_static("/prompts", config.prompts)
    return app


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int, *, shutdown_timeout: float = 5.0) -> AsyncIterator[int]:
    """Listen while the block runs; gives the port (useful when *port* is 0)."""
    logging.getLogger("aiohttp.server").addFilter(_not_their_fault)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=shutdown_timeout)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, reuse_address=True)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _not_their_fault(record: logging.LogRecord) -> bool:
    """Leave out what is no HTTP at all: it has been answered with 400, and strangers must not fill the log with tracebacks."""
    return record.exc_info is None or not isinstance(record.exc_info[1], HttpProcessingError)


def _request_log(metrics: WebMetrics) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count, time and log one request by its route pattern: a path may hold an id, a query a number."""
        started = time.perf_counter()
        status = 500
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as error:
            status = error.status
            raise
        except (ConnectionError, asyncio.CancelledError):
            status = 499  # the client has gone; nobody is there to read an answer
            raise
        except JournalUnavailableError as error:
            status = 503
            log.warning("http.unavailable", route=_route_of(request), reason=str(error))
            words = "The database cannot be reached just now. Nothing has been changed; please try again in a moment."
            response = web.Response(status=status, text=words, headers={"Retry-After": "2"})
        except Exception:
            log.exception("http.failed", route=_route_of(request))
            response = web.Response(status=500, text="Something went wrong here. It has been written to the log.")
        finally:
            took = time.perf_counter() - started
            route = _route_of(request)
            method = request.method if request.method in METH_ALL else "other"  # a stranger may invent as many as he likes
            metrics.requests.labels(route, method, str(status)).inc()
            if status != 101:
                metrics.seconds.labels(route).observe(took)
            if not route.startswith(_QUIET_ROUTES):
                log.info("http.request", route=route, method=method, status=status, ms=round(took * 1000, 1))
        return response

    return middleware


def _route_of(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unmatched"


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in SECURITY_HEADERS.items():
        if name not in response.headers or name == "Server":
            response.headers[name] = value
    if request.path.startswith("/static/"):
        # With `?v=` the address changes when the file does; without it the browser has to ask.
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable" if "v" in request.query else "no-cache"
