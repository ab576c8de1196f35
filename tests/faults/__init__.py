"""Faults on purpose: real processes are killed under load, and what was said is compared."""
