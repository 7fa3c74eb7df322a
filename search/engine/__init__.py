"""The search itself: one session, its trials, and what is trained again after them."""
