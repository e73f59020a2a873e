"""Ways to run guests behind one interface: `soft` is the reference; `kvm` and `apple` are for hosts that have them."""
