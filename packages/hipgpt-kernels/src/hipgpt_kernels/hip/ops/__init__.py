"""One file an op: check the arguments, choose the tile, launch."""
