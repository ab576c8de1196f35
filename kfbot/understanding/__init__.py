"""What a customer's words mean: pure rules, no I/O."""
