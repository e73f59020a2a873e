/* See pyhv/mach.h. */
#include <pyhv/mach.h>
