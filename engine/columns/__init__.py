"""What stands between Python objects and the kernels: tables built from a rule set, room for a batch."""
