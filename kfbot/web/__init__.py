"""The HTTP server: webhooks, web chat, API, health; static pages beside it."""
