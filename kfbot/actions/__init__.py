"""Actions: what the operator's own system does when a customer's words ask for it."""
