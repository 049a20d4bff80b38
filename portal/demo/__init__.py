"""`portal demo`: development providers, sample APIs and their wiring."""
