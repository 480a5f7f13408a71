"""What a model would like to see: inputs that are made to move its scores, units or layers most."""
