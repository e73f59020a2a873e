"""What pyhv promises, as tests that any engine can be put to.

    from pyhv.testing import promises

    @pytest.mark.parametrize("promise", promises(), ids=str)
    def test_my_engine(promise):
        promise.check(MyEngine())

Each promise is one function that takes the engine and raises AssertionError when it is not kept. Its docstring begins
with the rule it stands for: the part and number of the rule of Apple's framework (docs/reference/conformance.md), or
the word "objects". `promise.covers` has the functions of Apple's that it is about, with the codes that it shows;
`recorded()` sees whether they were called.
"""

from ._promise import Promise as Promise
from ._promise import promises as promises
from ._recorder import recorded as recorded
from .guest import Guest as Guest
from .guest import guest as guest
from .guest import identity_tables as identity_tables
from .guest import raw_guest as raw_guest
from .guest import waiting as waiting
