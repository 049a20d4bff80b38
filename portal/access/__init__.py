"""Access rules: who of a provider's accounts may sign in, and call which paths of an API. Pure, no I/O."""
