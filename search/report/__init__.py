"""What people look at in a browser: the report, and the notes, files and figures of optuna-dashboard."""
