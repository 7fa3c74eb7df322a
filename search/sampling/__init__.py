"""Samplers: what is proposed next, within the budget."""
