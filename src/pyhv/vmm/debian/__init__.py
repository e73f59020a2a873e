"""Debian's kernel and BusyBox as a guest: fetched with apt, unpacked with dpkg-deb, packed into an initramfs."""

from .errors import DebianError as DebianError
from .guest import DebianGuest as DebianGuest
from .guest import cache_folder as cache_folder
from .guest import debian_guest as debian_guest
