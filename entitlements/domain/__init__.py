"""What entitlements are and how they are decided: values in, values out, the clock passed in."""
