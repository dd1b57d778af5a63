"""Intervals, tests and agreement; nothing here knows a film."""
