"""Cases in a chat of agents: each has a thread there."""
