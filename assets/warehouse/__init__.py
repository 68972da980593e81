"""From landing to raw, and the memory of former runs: what writes the warehouse file."""
