"""The served bot of the integration tests, and where a test of security finds it."""

from tests.integration.conftest import bot, served

__all__ = ["bot", "served"]
