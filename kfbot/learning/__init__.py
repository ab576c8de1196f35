"""What the bot learns from cases, and what of it is exported."""
