"""Networks in the formats of other runtimes."""
