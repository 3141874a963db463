"""Demonstrations and corrections: who acts while an episode is recorded, how it is written."""
