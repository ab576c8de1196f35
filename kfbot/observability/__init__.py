"""What is seen from outside: logs, metrics, traces, and how the process itself does."""
