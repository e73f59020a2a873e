"""A virtual machine monitor on pyhv's public face: buses, devices, boards, loaders and the loop that joins them.

It imports `pyhv` as any program would. The way of one guest access is `loop` → `bus` → a device in `devices` → back.
"""
