"""Where the two Flower apps run: in this process, or in Flower's Ray simulation."""
