"""What the gate gets wrong, measured on a bank of scores."""
