"""Decide, with evidence, whether a LoRA checkpoint of a Wan video model may be published."""
