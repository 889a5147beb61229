"""A run in the making: what was asked for, what was found, what was measured so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rfdn_plugin.leaderboard.measure.cache import Cache
from rfdn_plugin.leaderboard.measure.evaluate import Evaluation, Plan
from rfdn_plugin.leaderboard.options import LeaderboardOptions


@dataclass
class Run:
    """State of a run of the leaderboard: what it was asked for, what it has found and measured.

    Attributes:
        options: What was asked for.
        out: Folder of the results.
        plan: Entries, sets and metrics as they were found.
        published: Rows of the published tables.
        cache: Results of earlier runs.
        evaluation: Scores and failures by entry.
        checks: How the LR of each set was made, by set and scale; see `evaluate.check_sets`.
        costs: What was counted and timed, by entry label.
        notes: Warnings, by entry label.
    """

    options: LeaderboardOptions
    out: Path
    plan: Plan
    published: list[dict[str, Any]]
    cache: Cache
    evaluation: Evaluation = field(default_factory=Evaluation)
    checks: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    costs: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def note(self, label: str, text: str) -> None:
        """Add a warning to an entry's row."""
        self.notes.setdefault(label, []).append(text)
