"""Commands in a chat: for admins, and `/help` for everybody."""
