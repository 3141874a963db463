"""Observation in, action chunk out: one Vision-Language-Action policy a file."""
