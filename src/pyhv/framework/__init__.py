"""Apple's functions by name, one module a guest architecture: `from pyhv.framework.intel import *`."""
