"""Where records come from, who holds them, and what is planted among them."""
