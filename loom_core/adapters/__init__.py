"""The ports' implementations. Only the composition root imports them."""
