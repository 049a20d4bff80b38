"""Development providers and sample APIs, and the wiring of `portal demo`."""
