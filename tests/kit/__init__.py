"""Code that the tests share, such as a simple browser and a portal with its development providers."""
