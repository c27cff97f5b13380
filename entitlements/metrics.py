"""Every metric, declared once (contract/operations.md, Metrics).

Label values are bounded: never the id of a customer.
"""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics

from entitlements.deferred_metrics import BulkHistogram, DeferredCounter, SettledAtScrape

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the page and serve nobody

SETTLE_SECONDS = 1.0
"""What was noted shows in the metrics of several processes no later."""

REGISTRY.register(SettledAtScrape())

_SECONDS_BUCKETS = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

# The vendor's six.
INITIALIZATION_ERRORS = Counter("sidecar_initialization_errors", "Parts that could not start as configured.")
INVALID_API_KEY_ERRORS = Counter("sidecar_invalid_api_key_errors", "Times the cloud refused SERVER_API_KEY.")
NETWORK_REQUEST_ERRORS = Counter("sidecar_network_request_errors", "Requests to the cloud that failed.")
REDIS_CLIENT_ERRORS = Counter("sidecar_redis_client_errors", "Redis calls that failed.")
CACHE_HITS = Counter("sidecar_cache_hits", "Reads answered from a tier.")
CACHE_HITS_AT_ONCE = DeferredCounter(CACHE_HITS)
"""Hits that memory answered, by a reply that stands or a decision."""
CACHE_MISSES = Counter("sidecar_cache_misses", "Reads that no tier could answer.")

# Processes.
WORKER_RESTARTS = Counter("sidecar_worker_restarts", "Workers that died and were started again.")
EVENT_LOOP_TASKS = Gauge(
    "sidecar_event_loop_tasks",
    "Tasks on the event loops; what grows without end is a defect.",
    multiprocess_mode="livesum",
)

BACKGROUND_FAILURES = Counter(
    "sidecar_background_failures",
    "Times a background task ended by a defect, and was started again.",
    ["task"],
)
BACKGROUND_SKIPPED = Counter(
    "sidecar_background_skipped",
    "Data that a background task could not use, and left out.",
    ["task"],
)

READY = Gauge(
    "sidecar_ready", "1 while checks are answered and no stop was asked for.", multiprocess_mode="livesum"
)
PART_PROBLEM = Gauge(
    "sidecar_part_problem",
    "1 while a part has this problem, as in /readyz?verbose; looked at each second.",
    ["part", "problem"],
    multiprocess_mode="livemax",
)

# gRPC.
GRPC_REQUESTS = Counter("sidecar_grpc_requests", "Calls answered.", ["method", "code"])
GRPC_DURATION = BulkHistogram(
    "sidecar_grpc_request_duration_seconds", "Time to answer a call.", ["method"], buckets=_SECONDS_BUCKETS
)

GRPC_REFUSED = Counter(
    "sidecar_grpc_refused_requests", "Calls that were refused without looking at what they ask.", ["cause"]
)

# HTTP.
HTTP_REFUSED = Counter(
    "sidecar_http_refused_requests", "Requests and connections that METRICS_PORT refused or cut.", ["cause"]
)

HTTP_API_REQUESTS = Counter(
    "sidecar_http_api_requests", "Requests that SIDECAR_HTTP_PORT answered, by standard.", ["door", "status"]
)
HTTP_API_REFUSED = Counter(
    "sidecar_http_api_refused_requests",
    "Requests and connections that SIDECAR_HTTP_PORT refused unseen or cut.",
    ["cause"],
)
WATCHERS = Gauge("sidecar_watchers", "Clients of HTTP that wait for changes.", multiprocess_mode="livesum")
WATCH_EVENTS = Counter("sidecar_watch_events", "Changes sent to those who watch.")

# Answers.
FALLBACKS = Counter(
    "sidecar_fallbacks",
    "Answers from a fallback, by cause and by feature; features without a configured fallback are `other`.",
    ["cause", "feature"],
)
STALE_ANSWERS = Counter("sidecar_stale_answers", "Answers from an entity whose re-check failed.")
OVERRIDE_ANSWERS = Counter(
    "sidecar_override_answers", "Answers that a person's override decided.", ["verdict"]
)
OVERRIDES_IN_FORCE = Gauge("sidecar_overrides", "Overrides in force.", multiprocess_mode="livemax")
OVERRIDES_OLDEST_AGE = Gauge(
    "sidecar_overrides_oldest_age_seconds",
    "Age of the oldest override in force; 0 without one.",
    multiprocess_mode="livemax",
)
INVALID_READS = Counter("sidecar_invalid_reads", "Reads that could not be understood.", ["field"])

DECISIONS_DROPPED = Counter(
    "sidecar_decision_log_dropped",
    "Decisions that were to be logged, and were too many a second.",
    ["outcome"],
)
SHADOW_READS = Counter(
    "sidecar_shadow_reads",
    "Reads that were compared with another sidecar: same, lasting, transient, undecided or failed.",
    ["method", "outcome"],
)
SHADOW_DIFFERENCES = Counter(
    "sidecar_shadow_differences",
    "Fields in which another sidecar's answers differ, and do so when both are asked again.",
    ["method", "field"],
)
SHADOW_TRANSIENT_DIFFERENCES = Counter(
    "sidecar_shadow_transient_differences",
    "Fields in which another sidecar's answer differed until both were asked again.",
    ["method", "field"],
)
SHADOW_DROPPED = Counter(
    "sidecar_shadow_dropped", "Sampled reads that were not compared with another sidecar.", ["cause"]
)
SHADOW_BEHIND = DeferredCounter(SHADOW_DROPPED.labels("behind"))
"""Those that came faster than they are compared, on the path of a hit."""
LOG_LINES_DROPPED = Counter(
    "sidecar_log_lines_dropped", "Log lines that were dropped because stdout was not read."
)
SPANS_LOST = Counter("sidecar_spans_lost", "Spans that the collector of traces did not take.")

# Upstream.
UPSTREAM_REQUESTS = Counter("sidecar_upstream_requests", "Requests to the cloud.", ["transport", "outcome"])
UPSTREAM_DURATION = Histogram(
    "sidecar_upstream_request_duration_seconds",
    "Time until the cloud answered or failed.",
    ["transport"],
    buckets=_SECONDS_BUCKETS,
)
UPSTREAM_WAITING = Gauge(
    "sidecar_upstream_requests_waiting",
    "Requests to the cloud that wait for others of their kind to end.",
    ["kind"],
    multiprocess_mode="livesum",
)
UPSTREAM_RENEWALS = Counter(
    "sidecar_upstream_connections_renewed",
    "Times that all connections to a host of the cloud were opened anew, for want of any answer.",
)
FETCHES_QUEUED = Gauge(
    "sidecar_fetches_queued", "Fetches that wait for their turn.", multiprocess_mode="livesum"
)
FETCHES_JOINED = Counter(
    "sidecar_fetches_joined", "Callers that waited for a fetch of the same entity that another had begun."
)
ENTITIES_RESTING = Gauge(
    "sidecar_entities_resting",
    "Entities that the cloud is not asked about for a moment, since it failed to answer.",
    multiprocess_mode="livesum",
)
EDGE_BUDGET_USED = Counter("sidecar_edge_budget_used", "Requests to the Edge that its budget let through.")
EDGE_BUDGET_REFUSED = Counter(
    "sidecar_edge_budget_refused",
    "Times its budget was empty: a miss asked the API instead, a recheck or an audit waited.",
    ["kind"],
)
EDGE_BUDGET_REMAINING = Gauge(
    "sidecar_edge_budget_remaining",
    "Requests to the Edge that could be made at once, as it was seen last.",
    multiprocess_mode="mostrecent",
)
FETCHES_PACED = Counter(
    "sidecar_fetches_paced", "Fetches that waited to start because hits had work for the whole processor."
)
AUDITS = Counter(
    "sidecar_audits",
    "Held entities that were compared with the cloud: right, differed, overtaken by news, or failed.",
    ["outcome"],
)
AUDIT_DIFFERENCES = Counter(
    "sidecar_audit_differences",
    "Differences from the cloud that audits found and repaired, by what differed.",
    ["kind"],
)
AUDIT_RIGHT = Gauge(
    "sidecar_audit_right_ratio",
    "The share of a process' last 100 audits that found what is held right; 1 before the first.",
    multiprocess_mode="livemin",
)
AUDIT_RIGHT.set(1)
RECHECKS = Counter(
    "sidecar_rechecks",
    "Background re-checks of suspect entities: confirmed, failed, unneeded by then, or dropped.",
    ["outcome"],
)
RECHECKS_SPREAD = Counter(
    "sidecar_rechecks_spread",
    "Re-checks that were put off to a moment drawn by lot, as an outage or a start was just over.",
)
SUSPECTS_WAITING = Gauge(
    "sidecar_suspects_waiting",
    "Suspect entities whose re-check waits for its turn.",
    multiprocess_mode="livesum",
)
UPSTREAM_SKIPPED = Counter(
    "sidecar_upstream_skipped", "Parts of the cloud's answers that were not understood.", ["what"]
)

# The feed.
FEED_CONNECTED = Gauge("sidecar_feed_connected", "1 while every change arrives.", multiprocess_mode="livemax")
FEED_LAST_EVENT = Gauge(
    "sidecar_feed_last_event_timestamp_seconds",
    "When the feed last sent a change.",
    multiprocess_mode="livemax",
)
FEED_EVENTS = Counter("sidecar_feed_events", "Events of the feed.", ["type", "outcome"])
FEED_RECONNECTS = Counter("sidecar_feed_reconnects", "Attempts to connect the feed again.", ["cause"])
FEED_GAPS = Counter("sidecar_feed_gaps", "Times that a change may have been missed.", ["cause"])

# The tiers.
CACHE_ENTRIES = Gauge("sidecar_cache_entries", "Entities held.", ["tier"], multiprocess_mode="livesum")
CACHE_BYTES = Gauge("sidecar_cache_bytes", "Bytes held.", ["tier"], multiprocess_mode="livesum")
CACHE_EVICTIONS = Counter("sidecar_cache_evictions", "Entities given up for space.", ["tier"])
REDIS_DROPPED_WRITES = Counter(
    "sidecar_redis_dropped_writes", "Writes that Redis did not take; they are in memory and in the cloud."
)
REDIS_AMBIGUOUS_IDS = Counter(
    "sidecar_redis_ambiguous_ids",
    "Uses of an entity that stays out of Redis because its name there could be another's.",
)
REDIS_NAMED_KEYS = Counter(
    "sidecar_redis_named_keys", "Keys that Redis named because somebody, this process included, changed them."
)
REDIS_NAMED_ENTITIES = Counter(
    "sidecar_redis_named_entities",
    "Entities of interest here that were named: changed by this process itself (own), or by others.",
    ["by"],
)
REDIS_TRACKING = Gauge(
    "sidecar_redis_tracking",
    "1 while Redis names every change to this process.",
    multiprocess_mode="livemin",
)
FEED_LEASE_HELD = Gauge(
    "sidecar_feed_lease_held",
    "1 in the process that follows the feed for all processes of its Redis prefix.",
    multiprocess_mode="livesum",
)
DATABASE_ERRORS = Counter(
    "sidecar_database_errors", "Times the database of fallback rules and people could not be read."
)
CACHE_JUNK = Counter("sidecar_cache_junk", "Values found in a tier that could not be used.", ["tier"])

# The outbox.
OUTBOX_ACCEPTED = Counter("sidecar_outbox_accepted", "Writes kept for later delivery.", ["kind"])
OUTBOX_DELIVERED = Counter("sidecar_outbox_delivered", "Kept writes that the cloud took.", ["kind"])
OUTBOX_RETRIED = Counter("sidecar_outbox_retried", "Deliveries that failed and are tried again.", ["cause"])
OUTBOX_DEAD = Counter("sidecar_outbox_dead", "Kept writes that the cloud refused.", ["kind"])
OUTBOX_LOST = Counter("sidecar_outbox_lost", "Kept writes that vanished before they were delivered.")
OUTBOX_DEPTH = Gauge("sidecar_outbox_depth", "Writes that wait for delivery.", multiprocess_mode="livemax")
OUTBOX_DEAD_LETTERS = Gauge(
    "sidecar_outbox_dead_letters", "Refused writes that wait for a person.", multiprocess_mode="livemax"
)
OUTBOX_RESTING = Gauge(
    "sidecar_outbox_resting",
    "Writes that failed alone while others were delivered, and are tried again later.",
    multiprocess_mode="livemax",
)
OUTBOX_OLDEST_AGE = Gauge(
    "sidecar_outbox_oldest_age_seconds", "Age of the oldest waiting write.", multiprocess_mode="livemax"
)

# The TLS listener.
TLS_CERTIFICATE_EXPIRES = Gauge(
    "sidecar_tls_certificate_expiry_timestamp_seconds",
    "When the certificate of PORT expires, as of the last connection; 0 without TLS.",
    multiprocess_mode="mostrecent",
)
SECRET_ROTATIONS = Counter(
    "sidecar_secret_rotations", "Times the file of a secret changed.", ["variable", "outcome"]
)
SECRET_PENDING = Gauge(
    "sidecar_secret_pending",
    "1 while the file of a secret holds another one than is in use.",
    ["variable"],
    multiprocess_mode="livemax",
)
TLS_RELOADS = Counter("sidecar_tls_reloads", "Times the TLS files changed.", ["outcome"])

# Files that stand in for the cloud.
SNAPSHOT_WRITES = Counter("sidecar_snapshot_writes", "Times SIDECAR_SNAPSHOT_FILE was written.", ["outcome"])
OFFLINE_FILE_RELOADS = Counter(
    "sidecar_offline_file_reloads", "New versions of SIDECAR_OFFLINE_FILE.", ["outcome"]
)
