"""What tools wrote into a mount: read, summed up, and made part of the environment."""
