"""The pure step: what operations mean for one customer. No input or output; time and chance come in."""
