"""Where quotes come from: the TEE's own interface, or the launcher of a simulated TEE."""
