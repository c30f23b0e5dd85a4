"""What Loom needs from the world, as Protocols. Adapters satisfy them without inheriting."""
