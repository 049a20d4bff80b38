"""The development provider and the sample API with faults, with records, and with more protocol."""
