"""How every network of this project is trained: one loop for one process or many. What is trained lies beside its network."""
