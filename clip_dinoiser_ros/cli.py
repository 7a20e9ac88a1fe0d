"""The command `clip-dinoiser`."""
