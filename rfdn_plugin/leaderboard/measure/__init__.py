"""Measuring entries: quality, cost, latency, significance."""
