"""What each command does and says. The options come from `cli`."""
