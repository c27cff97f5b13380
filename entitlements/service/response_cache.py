"""Answers that stand: the same question about the same state is not decided twice."""

from entitlements import metrics
from entitlements.domain.cached_response import CachedResponse, ResponseKey
from entitlements.domain.evaluation import next_boundary_ms
from entitlements.domain.freshness import EntityState, fresh_until
from entitlements.domain.overrides import Overrides
from entitlements.domain.ports import Clock, ResponseStore, Trusted
from entitlements.service.answers import Answer, ListAnswer


class ResponseCache:
    """Recalls what was answered; from any thread, without waiting.

    Only what was fresh is remembered, and no fallback: so a reply depends on nothing but the entity, the
    state of the feed and the clock, and each of them ends it. What is overridden is not remembered either.

    An override that begins ends the replies of before: `StoredOverrides` first has `of` return it, and then
    puts another `trust` in force. A thread that decided before it and remembers after it reads the new trust
    here and then finds the override; or it reads the old trust, with which its reply stands no more.
    """

    def __init__(self, *, replies: ResponseStore, feed: Trusted, overrides: Overrides, clock: Clock) -> None:
        self._replies = replies
        self._feed = feed
        self._overrides = overrides
        self._clock = clock
        self._count_hit = metrics.CACHE_HITS_AT_ONCE.count

    def recall(self, question: ResponseKey) -> tuple[bytes, int] | None:
        """The reply that stands and how long ago its entity was confirmed (ms); None: it must be decided.

        It counts as a read answered from a tier.
        """
        reply = self._replies.recall(question)
        if reply is None:
            return None
        now, now_ms = self._clock.both()
        if not reply.stands(self._feed.trust, now, now_ms):
            return None
        self._count_hit()
        return reply.message, int((now - reply.cached.confirmed_at) * 1000.0)

    def is_asked_again(self, question: ResponseKey, answer: Answer | ListAnswer) -> bool:
        """True when it is worth to remember the reply: the question was decided before."""
        return answer.seen is not None and self._replies.is_asked_again(answer.seen.known.key, question)

    def remember(self, question: ResponseKey, message: bytes, answer: Answer | ListAnswer) -> None:
        """Keeps the reply to a question, if it is one that can stand."""
        seen = answer.seen
        if seen is None or answer.provenance.state is not EntityState.FRESH:
            return
        known, decisions = seen.known, answer.decisions
        if any(each.is_fallback or each.override is not None for each in decisions):
            return
        if self._overrides.of(known.key):
            return
        reply = CachedResponse(
            message=message,
            cached=known.cached,
            trust=seen.trust,
            fresh_until=fresh_until(known.cached, trust=seen.trust),
            from_ms=seen.now_ms,
            until_ms=next_boundary_ms(decisions),
        )
        self._replies.remember(known.key, question, reply)
