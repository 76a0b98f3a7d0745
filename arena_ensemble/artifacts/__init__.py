"""Where artifacts lie and how they are written: whole or absent, with a card of what made them."""
