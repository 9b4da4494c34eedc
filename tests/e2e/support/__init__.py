"""What the end-to-end tests share: a server as a process, registries, examples and clients."""
