"""What the core counts, for Prometheus. Labels are bounded: providers, states, reasons, queues; never numbers or ids."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """The counters of calls, texts, offers and waits, in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.calls = Counter("sidetone_calls_total", "Calls that arrived, by provider.", ["provider"], registry=registry)
        self.calls_refused = Counter(
            "sidetone_calls_refused_total", "Calls refused with 503, by reason: cluster_away, journal_away.", ["reason"],
            registry=registry,
        )  # fmt: skip
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
        self.known = Gauge("sidetone_sessions_known", "Open sessions of all nodes, as this one knows them.", registry=registry)
        self.nodes = Gauge(
            "sidetone_nodes", "Nodes that gave signs of life when this one last looked, with it.", registry=registry
        )
        self.reachable = Gauge(
            "sidetone_cluster_reachable", "1: what nodes share took a sign of life of this node within the lease time; or 0.",
            registry=registry,
        )  # fmt: skip
        self.applied = Gauge(
            "sidetone_log_applied", "Number of the last entry of the nodes' log that is applied here.", registry=registry
        )
        self.behind = Gauge(
            "sidetone_log_behind", "Entries in the nodes' log that were not applied here when this node last looked.",
            registry=registry,
        )  # fmt: skip
        self.roles = Gauge("sidetone_role", "1: this node does what one does for all; or 0.", ["role"], registry=registry)
        self.taken_over = Counter(
            "sidetone_sessions_taken_over_total", "Sessions that another node left or gave, and this one went on with.",
            registry=registry,
        )  # fmt: skip
        self.fenced = Counter(
            "sidetone_steps_fenced_total", "Steps not taken because another node had the session by then.", registry=registry
        )
        self.tasks = Gauge("sidetone_tasks", "Asyncio tasks of the process.", registry=registry)
        self.live_calls = Gauge("sidetone_calls_live", "Calls in progress now.", registry=registry)
        self.waiting = Gauge("sidetone_queue_waiting", "Customers in line now, by queue.", ["queue"], registry=registry)
        self.ewt = Gauge(
            "sidetone_queue_ewt_seconds", "Estimated wait of a newcomer (p50), by queue; NaN when unknown.", ["queue"],
            registry=registry,
        )  # fmt: skip
