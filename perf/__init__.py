"""Strait measured beside its peers. README.md says how; scripts/compare and scripts/profile start it."""
