"""What each problem of a part means for callers, and what a person can do: `/readyz?verbose`."""

from collections.abc import Mapping

from entitlements.service.health import PartState

WELL = "well"

MEANINGS: Mapping[str, Mapping[str, str]] = {
    "upstream": {
        WELL: "What is not cached is fetched from the cloud.",
        "offline": "OFFLINE=1: nobody is asked; SIDECAR_OFFLINE_FILE and fallbacks answer.",
        "key_refused": (
            "The cloud refuses SERVER_API_KEY: cached customers are answered as before, the others by "
            "fallbacks. Put a valid full access key in place: that in the file of SERVER_API_KEY_FILE is "
            "taken by itself, that in SERVER_API_KEY at the next start."
        ),
        "key_unverified": (
            "The cloud did not answer when it was asked about SERVER_API_KEY, and is asked again every 15 "
            "s; what is not cached may be answered by fallbacks."
        ),
        "certificate_untrusted": (
            "The cloud's certificate is not trusted here: cached customers are answered as before, the "
            "others by fallbacks. Set SSL_CERT_FILE to the certificate of its authority."
        ),
        "not_answering": (
            "The cloud does not answer: cached customers are answered as before, the others by fallbacks "
            "at once. It is tried again by itself; see `failures` for the cause."
        ),
        "partly_answering": (
            "One way to the cloud does not answer, the other does within the same budget: callers notice "
            "nothing. It is tried again by itself."
        ),
    },
    "feed": {
        WELL: "Changes in the cloud show here within moments.",
        "disabled": (
            "No live feed is followed (WS_ENABLED=0 or OFFLINE=1): what is cached is checked again by its "
            "age."
        ),
        "connecting": (
            "The live feed is not followed yet: what is cached is answered, and checked again on use."
        ),
        "lost": (
            "The connection is lost and tried again by itself: what is cached is answered, and checked "
            "again on use, so changes show late."
        ),
        "lagging": (
            "Changes come faster than they are taken, and late: what is cached is answered, and checked "
            "again on use."
        ),
        "throttled": (
            "The cloud asks to connect less often (too many connections for one key?): changes show late."
        ),
        "certificate_untrusted": (
            "The live feed's certificate is not trusted here: changes show late. Set SSL_CERT_FILE to the "
            "certificate of its authority."
        ),
        "key_refused": ("The live feed refuses SERVER_API_KEY: changes show late. See `upstream`."),
        "holder_not_following": (
            "Another process follows the feed for this one, and does not follow it now: changes show "
            "late. See that process, `redis.feed_lease_holder`."
        ),
    },
    "background": {
        WELL: "All that runs beside requests does.",
        "restarting": (
            "A background task ended by a defect of ours and is started again by itself (`troubled` names "
            "it, the log has its traceback): calls are answered, what it does is late."
        ),
        "skipping": (
            "A background task left out what it could not use, and goes on (`troubled` names the task, the "
            "log what it left out): look at that datum."
        ),
    },
    "secrets": {
        WELL: "The secrets in use are those of their files.",
        "unreadable": (
            "The file of a secret changed and cannot be used (`files` names it, the log says why): the one "
            "before it stays in use."
        ),
        "refused": (
            "The other side refuses the secret that a file holds now (`files` names it): the one before it "
            "stays in use, and the new one is tried again every 15 s."
        ),
        "untried": (
            "The secret that a file holds now could not be tried yet (`files` names it): the one before it "
            "stays in use, and the new one is tried again every 15 s."
        ),
    },
    "memory": {
        WELL: "Hits from here cost no call to anybody.",
    },
    "redis": {
        WELL: "What is fetched is shared with the other processes.",
        "not_answering": (
            "Redis does not answer in time: memory and the cloud do, and nothing is shared meanwhile. It "
            "is tried again by itself."
        ),
        "password_refused": (
            "Redis refuses REDIS_USERNAME or REDIS_PASSWORD: memory and the cloud answer, and nothing is "
            "shared. Put the valid ones in place and restart."
        ),
        "certificate_refused": (
            "No trusted TLS connection to Redis comes about (`sentences` says why, and which variable "
            "fixes it): memory and the cloud answer, and nothing is shared."
        ),
        "cluster": (
            "REDIS_HOST is a node of a Redis Cluster: most keys are refused there. Set "
            "SIDECAR_REDIS_MODE=cluster."
        ),
        "no_cluster": (
            "SIDECAR_REDIS_MODE is cluster, and Redis is none: memory and the cloud answer, and nothing is "
            "shared. Set SIDECAR_REDIS_MODE=plain, or point SIDECAR_REDIS_NODES elsewhere."
        ),
        "partly_answering": (
            "A primary of the Cluster does not answer (`silent_nodes`): its part of the customers is "
            "answered by memory and the cloud, and shared again once its replica took over."
        ),
        "lacking_rights": (
            "Redis refuses commands to this user (`sentences` says what does not go for it); all else "
            "goes on. Give the user the rights to `refused_commands`."
        ),
        "unverified": (
            "Redis' certificate is not verified (SIDECAR_REDIS_TLS_VERIFY=off): whoever stands between "
            "can read and write. Set SIDECAR_REDIS_CA_FILE instead."
        ),
        "tracking_refused": (
            "Redis does not name what others change in it (CLIENT TRACKING over RESP3 is not allowed, or not "
            "known before Redis 6): what is held is re-checked by its age, "
            "SIDECAR_MAX_UNVERIFIED_SECONDS. Allow it."
        ),
        "tracking_lost": (
            "The connection is away by which Redis names what others change in it: what is held is looked "
            "at in Redis again before it is relied on. It is made anew by itself."
        ),
        "refusing_writes": (
            "Redis answers and refuses to write (`last_refusal` says why: OOM is full, READONLY a "
            "replica): nothing new is shared. Look at that Redis."
        ),
        "holds_junk": (
            "Keys under our prefix hold what cannot be used: they count as misses. `doctor` says whose "
            "they are."
        ),
    },
    "outbox": {
        WELL: "Writes that the cloud cannot take are kept and delivered later.",
        "off": (
            "Nothing is kept (SIDECAR_OUTBOX=off, or OFFLINE=1): a write that fails is reported to "
            "its caller alone."
        ),
        "unavailable": (
            "The outbox cannot be used (its file cannot be opened or written, or its Redis does not do what "
            "is needed; the log says why): a write that the cloud does not take is reported to its caller. "
            "`manage.py doctor` examines it."
        ),
        "disk_full": (
            "The disk of SIDECAR_DATA_DIR is full: what is kept goes on being delivered, and a write that "
            "the cloud does not take is reported to its caller. It heals by itself once there is room."
        ),
        "lost": (
            "Writes that were promised are gone before they were delivered (`lost`, since this process "
            "started): deleted, damaged or evicted. The log says when; report them again where you can."
        ),
        "damaged": (
            "The outbox's file was damaged and set aside beside the new one (`outbox.sqlite3.damaged-…` in "
            "SIDECAR_DATA_DIR): what could be read went over. Examine it, and remove it."
        ),
        "at_risk": (
            "Redis may lose what waits there (`risks` says what, and when). Set `appendonly yes` there, and "
            "a `maxmemory-policy` that spares what does not expire."
        ),
        "waiting": (
            "Writes wait for the cloud, in order; usage there lags behind. See `upstream`, or `manage.py "
            "outbox list`."
        ),
        "dead_letters": (
            "The cloud refused writes for good: `manage.py outbox list` shows why; fix the cause, then "
            "`manage.py outbox replay` or `discard`."
        ),
    },
    "offline_file": {
        WELL: "Answers come from this file.",
        "broken_version": (
            "The newest version of the file is broken and the one before it is in force; the log says "
            "what is wrong."
        ),
    },
    "drift_audit": {
        WELL: "What is held agrees with the cloud, as far as it was compared.",
        "differs": (
            "Something that was held differed from the cloud within the last hour, though no change was "
            "seen to be missed; it is repaired. See SidecarDrift in docs/operating.md."
        ),
    },
    "shadow": {
        WELL: "Every answer that was compared with SIDECAR_SHADOW_ADDRESS agrees, or did when asked again.",
        "differs": (
            "SIDECAR_SHADOW_ADDRESS answers some reads otherwise, and goes on doing so: callers get ours. "
            "The admin (Shadow) shows both answers; `sidecar_shadow_differences_total` counts them by field."
        ),
        "not_answering": (
            "SIDECAR_SHADOW_ADDRESS does not answer (`last_failure`): nothing is compared, and callers "
            "notice nothing. It is tried again by itself."
        ),
    },
    "database": {
        WELL: "Fallback rules and what people set are read from it.",
        "unreadable": (
            "The database of fallback rules, users and overrides cannot be read (DATABASE_URL, or "
            "`sidecar.sqlite3` in SIDECAR_DATA_DIR): what was last read stays in force, and checks need it "
            "not; the admin does. Bring it back; a damaged file must be moved away before a restart."
        ),
    },
    "overrides": {
        WELL: "The cloud's answer holds for everybody: no person overrides it.",
        "in_force": (
            "People have features granted or denied whatever the cloud says, each for a bounded time: see "
            "Overrides in the admin, or `manage.py override list`."
        ),
    },
    "snapshot": {
        WELL: "What memory holds is written here regularly, for an outage after a restart.",
        "write_failed": (
            "The snapshot could not be written, and the old one stays: look at the disk and its rights."
        ),
    },
}


def part_state(part: str, problem: str | None, *, wanted: str = WELL, **details: object) -> PartState:
    """A part's state; `wanted` names what its meaning is while there is no problem."""
    return PartState(problem=problem, meaning=MEANINGS[part][problem or wanted], details=details)
