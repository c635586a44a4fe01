"""Backups of a store, and what brings one back: the copy, and the log's archive since."""
