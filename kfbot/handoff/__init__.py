"""When a person is called, who, what customers hear meanwhile, and how the bot comes back."""
