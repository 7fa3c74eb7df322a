"""Networks trained again with several seeds, and what the numbers say."""
