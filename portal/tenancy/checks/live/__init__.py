"""Live checks: what a tenant's providers and API say, asked now (`portal tenant check --live`)."""
