"""What clients see: the recorded answers of the vendor's SDK, and independent client stacks."""
