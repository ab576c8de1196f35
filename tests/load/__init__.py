"""The whole bot under load: a real server, every channel that it is called on, real signatures."""
