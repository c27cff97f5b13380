"""How properties are searched here."""

from hypothesis import settings

# A busy machine is no defect, so an example has no deadline of its own; pytest's time-out holds.
settings.register_profile("domain", deadline=None, max_examples=100)
settings.load_profile("domain")
