"""Judging a detector on streams, never on cut-out windows: rates with intervals, thresholds, a report."""
