"""kfbot: a customer-service bot that answers from documents and hands over when unsure."""

__version__ = "0.1.0"
