"""What is looked for in tenant files beside their shape."""
