"""`portal doctor`: checks everything that a deployment needs, and says what to do for each problem."""
