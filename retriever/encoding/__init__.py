"""Ways of running an encoder on this machine, behind one face, and the measurement that chooses between them."""
