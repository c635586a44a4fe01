"""What Tact costs, with a peer beside every figure: `python -m bench`."""
