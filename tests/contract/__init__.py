"""Golden messages: what agents already out there must go on reading, and how today's are spelled."""
