"""What the tests share: a browser without a screen, and a portal with its development providers."""
