"""What is stored, and the databases that store it."""
