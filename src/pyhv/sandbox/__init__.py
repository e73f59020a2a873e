"""Confine this process to what its entitlements allow, for good. Apple: codesign's entitlements, the App Sandbox.

    import pyhv.sandbox

    vm = …                                           # open what is needed, import everything
    pyhv.sandbox.enter("entitlements.plist")         # then, while there is one thread

A process that never enters is entitled to everything. One that has entered cannot leave, nor can what it starts:
no_new_privs holds, Landlock (Linux 5.13 and later) takes away device nodes and, where asked, all other files, and a
system-call filter takes away what no guest needs, for all threads to come.
"""

from .._core.entitled import ALL as ALL
from .._core.entitled import Entitlements as Entitlements
from .._core.entitled import of_process as of_process
from ._enter import Confinement as Confinement
from ._enter import Files as Files
from ._enter import enter as enter
