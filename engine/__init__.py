"""Tact: which message, if any, to send to a customer after an event, and why."""

__version__ = "0.1.0"
