"""The receipt of a run: written, signed and verified."""
