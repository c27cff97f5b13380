"""The tiers in which entities are kept."""
