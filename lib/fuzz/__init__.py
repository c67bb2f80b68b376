"""Damaged inputs: how they are made, tried in processes of their own, and judged."""
