"""Checkpoints: reading any layout safely, and weights for another scale."""
