"""What of the ports is a value."""

from entitlements.domain.ports import Source


def test_sources_are_named_in_words_that_callers_see() -> None:
    """The words are part of metrics and of an answer's provenance: changing one breaks a dashboard."""
    assert ["memory", "redis", "edge", "api", "fallback", "offline", "override", "snapshot"] == [
        source.value for source in Source
    ]
