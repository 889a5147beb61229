"""What several test modules share. Fixtures are in the conftest files, code that they call is here."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
"""Path of the checkout."""
