"""Methods that read the gradient of the score, at the input or at points near it."""
