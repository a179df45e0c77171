"""Net descriptions and plans: no device, no batch size, no array."""
