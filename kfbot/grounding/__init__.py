"""What a chat model writes for the bot, and the proof that the documents say so."""
