"""How the parts become processes; decides nothing about entitlements."""
