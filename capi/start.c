/* How libHypervisor.so starts and forks its Python. The rest of the library is cffi's and Python. */
#define _GNU_SOURCE
#include <Python.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static __thread PyGILState_STATE fork_gil;
static __thread int fork_is_ours;

/* Python's own fork() has made its preparations itself, and holds the GIL. */
static void before_fork(void) {
    fork_is_ours = Py_IsInitialized() && !PyGILState_Check();
    if (!fork_is_ours) return;
    fork_gil = PyGILState_Ensure();
    PyOS_BeforeFork();
}

static void after_fork_in_parent(void) {
    if (!fork_is_ours) return;
    PyOS_AfterFork_Parent();
    PyGILState_Release(fork_gil);
}

static void after_fork_in_child(void) {
    if (!fork_is_ours) return;
    PyOS_AfterFork_Child();
    PyGILState_Release(fork_gil);
}

static void die(PyStatus status) {
    fprintf(stderr, "libHypervisor: Python does not start: %s\n", status.err_msg ? status.err_msg : "unknown reason");
    abort();
}

/* <environment>/lib/pythonX.Y/site-packages/pyhv/lib/libHypervisor.so: the environment is five folders up from the
 * package's own. An interpreter there makes its site-packages ours, activated or not. */
static int find_interpreter(char *path, size_t size, char *site, size_t site_size) {
    static const int from_file_to_site = 3, from_site_to_environment = 3;
    Dl_info info;
    char *real;
    int n;
    if (!dladdr((void *)find_interpreter, &info) || !(real = realpath(info.dli_fname, NULL))) return 0;
    for (n = 0; n < from_file_to_site; ++n) {
        char *slash = strrchr(real, '/');
        if (slash) *slash = 0;
    }
    snprintf(site, site_size, "%s", real);
    for (n = 0; n < from_site_to_environment; ++n) {
        char *slash = strrchr(real, '/');
        if (slash) *slash = 0;
    }
    snprintf(path, size, "%s/bin/python", real);
    free(real);
    return access(path, X_OK) == 0;
}

/* In the place of Py_InitializeEx in cffi's start. The environment's variables for Python are not ours: what a C program
 * does must not hang on them. */
void pyhv_start_python(int with_signals) {
    char interpreter[4096], site[4096];
    PyConfig config;
    PyStatus status;
    const int found = find_interpreter(interpreter, sizeof interpreter, site, sizeof site);
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = with_signals;
    config.site_import = 1;
    if (found) {
        status = PyConfig_SetBytesString(&config, &config.program_name, interpreter);
        if (PyStatus_Exception(status)) die(status);
    }
    status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) die(status);
    {   /* where no interpreter is beside it (Debian's dist-packages, --target) the package's own folder comes first */
        PyObject *path = PySys_GetObject("path"), *entry = PyUnicode_DecodeFSDefault(site);
        if (path && entry && !found) PyList_Insert(path, 0, entry);
        Py_XDECREF(entry);
    }
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}
