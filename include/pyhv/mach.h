/* The few calls of macOS beside the framework that its clients make, for Linux. pyhv's own, not Apple's: the time of
 * mach_absolute_time ticks once a nanosecond (as on Intel Macs), and sysctlbyname knows what says whether virtual
 * machines can be made. <mach/mach_time.h> and <sys/sysctl.h> beside this file lead here. */
#ifndef PYHV_MACH_H
#define PYHV_MACH_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef int kern_return_t;
#ifndef KERN_SUCCESS
#define KERN_SUCCESS 0
#endif

struct mach_timebase_info {
    uint32_t numer;
    uint32_t denom;
};
typedef struct mach_timebase_info mach_timebase_info_data_t;
typedef struct mach_timebase_info *mach_timebase_info_t;

/* What hv_vcpu_run_until counts in. */
static inline uint64_t mach_absolute_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* One tick is one nanosecond. */
static inline kern_return_t mach_timebase_info(mach_timebase_info_t info) {
    info->numer = info->denom = 1;
    return KERN_SUCCESS;
}

/* kern.hv_support: 1, an int. Other names are ENOENT; a buffer that is too small is ENOMEM, none asks for the size. */
static inline int sysctlbyname(const char *name, void *old_value, size_t *old_size, void *new_value, size_t new_size) {
    const int supported = 1;
    (void)new_size;
    if (strcmp(name, "kern.hv_support") != 0) return errno = ENOENT, -1;
    if (new_value != NULL) return errno = EPERM, -1;
    if (old_value != NULL && (old_size == NULL || *old_size < sizeof supported)) return errno = ENOMEM, -1;
    if (old_value != NULL) memcpy(old_value, &supported, sizeof supported);
    if (old_size != NULL) *old_size = sizeof supported;
    return 0;
}

#ifdef __cplusplus
}
#endif

#endif /* PYHV_MACH_H */
