"""What the core counts, for Prometheus. Labels are bounded: providers, states, reasons, queues; never numbers or ids."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The counters of calls, texts, offers and waits, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.calls = Counter("sidetone_calls_total", "Calls that arrived, by provider.", ["provider"], registry=registry)
        self.texts = Counter(
            "sidetone_texts_total", "Texts by direction and the state they reached.", ["direction", "state"], registry=registry
        )
        self.offers = Counter(
            "sidetone_offer_decisions_total", "Decisions whether to offer texting, by kind and reason.", ["kind", "reason"],
            registry=registry,
        )  # fmt: skip
        self.hooks = Counter(
            "sidetone_hook_deliveries_total", "Attempts to tell an endpoint, by outcome: delivered, failed, dead.",
            ["endpoint", "outcome"], registry=registry,
        )  # fmt: skip
        self.dead_letters = Gauge(
            "sidetone_hook_dead_letters", "Deliveries that were given up, by endpoint.", ["endpoint"], registry=registry
        )
        self.crm = Counter(
            "sidetone_crm_requests_total", "Requests to the CRM, by action and outcome: done, failed, dead.",
            ["action", "outcome"], registry=registry,
        )  # fmt: skip
        self.crm_waiting = Gauge(
            "sidetone_crm_entries", "What the CRM is to be asked or told, by state: pending, dead.", ["state"], registry=registry
        )
        self.waits = Histogram(
            "sidetone_wait_seconds",
            "Wait from the place in line to an agent, by queue.",
            ["queue"],
            buckets=(5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600),
            registry=registry,
        )
        self.sessions = Gauge("sidetone_sessions_open", "Sessions open now.", registry=registry)
        self.live_calls = Gauge("sidetone_calls_live", "Calls in progress now.", registry=registry)
        self.waiting = Gauge("sidetone_queue_waiting", "Customers in line now, by queue.", ["queue"], registry=registry)
        self.ewt = Gauge(
            "sidetone_queue_ewt_seconds", "Estimated wait of a newcomer (p50), by queue; NaN when unknown.", ["queue"],
            registry=registry,
        )  # fmt: skip
