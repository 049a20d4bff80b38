"""The development provider and the sample API, extended with faults, records and more protocol features."""
