/* How libHypervisor.so starts and forks its Python. The rest of the library is cffi's and Python. */
#define _GNU_SOURCE
#include <Python.h>
#include <Hypervisor/Hypervisor.h>
#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static __thread PyGILState_STATE fork_gil;
static __thread int fork_is_ours;

/* Python's own fork() has made its preparations itself, and holds the GIL. While another thread starts Python a call of ours
 * waits until that is done, as every call does: a child could never finish it. */
static void before_fork(void) {
    fork_is_ours = !Py_IsInitialized() || !PyGILState_Check();
    if (!fork_is_ours) return;
    (void)hv_tsc_clock();
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
    PyEval_SaveThread(); /* and keep this thread's state: it is the only one left, and Python cannot make its first one twice */
}

static void die(PyStatus status) {
    fprintf(stderr, "libHypervisor: Python does not start: %s\n", status.err_msg ? status.err_msg : "unknown reason");
    abort();
}

static void go_up(char *path, int folders) {
    for (; folders > 0; --folders) {
        char *slash = strrchr(path, '/');
        if (slash) *slash = 0;
    }
}

/* The real path of the file that holds a function of ours or of Python's. */
static int file_of(void *function, char *path, size_t size) {
    Dl_info info;
    char *real = dladdr(function, &info) ? realpath(info.dli_fname, NULL) : NULL;
    if (real) snprintf(path, size, "%s", real);
    free(real);
    return real != NULL;
}

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)
#define PYTHON "python" TEXT(PY_MAJOR_VERSION) "." TEXT(PY_MINOR_VERSION)

/* Where the libpython that we run on has its standard library: <prefix>/lib/pythonX.Y. 0: not above the library itself. */
static int find_prefix(char *prefix, size_t size) {
    char landmark[PATH_MAX];
    if (!file_of((void *)Py_InitializeFromConfig, prefix, size)) return 0;
    while (strrchr(prefix, '/')) {
        go_up(prefix, 1);
        if ((size_t)snprintf(landmark, sizeof landmark, "%s/lib/" PYTHON "/os.py", prefix) >= sizeof landmark) return 0;
        if (access(landmark, R_OK) == 0) return 1;
    }
    return 0;
}

/* Whether an interpreter is of the same Python as the libpython that we run on: below one prefix. A wheel may have been built
 * with another one of the same version, and neither works with the other's standard library. */
static int is_ours(const char *interpreter, const char *prefix) {
    char *real = realpath(interpreter, NULL);
    int ours;
    if (!real) return 0;
    go_up(real, 2);
    ours = strcmp(real, prefix) == 0;
    free(real);
    return ours;
}

/* <environment>/lib/pythonX.Y/site-packages/pyhv/lib/libHypervisor.so: the environment is three folders up from `site`,
 * which holds the package. An interpreter there makes its site-packages ours, activated or not; else libpython's own is
 * named, so that neither PATH nor the current folder decides. Empty: Python itself is to look. */
static void find_interpreter(char *path, size_t size, const char *site) {
    char environment[PATH_MAX], prefix[PATH_MAX];
    const int has_prefix = find_prefix(prefix, sizeof prefix);
    snprintf(environment, sizeof environment, "%s", site);
    go_up(environment, 3);
    if ((size_t)snprintf(path, size, "%s/bin/python", environment) >= size) path[0] = 0;
    if (access(path, X_OK) == 0 && (!has_prefix || is_ours(path, prefix))) return;
    if (!has_prefix || (size_t)snprintf(path, size, "%s/bin/" PYTHON, prefix) >= size) path[0] = 0;
}

/* The folder that holds the package comes first where the interpreter does not look for packages by itself (--target,
 * --user, Debian's dist-packages, a Python of another place); with what its .pth files name. */
static int add_site(const char *folder) {
    PyObject *path = PySys_GetObject("path"), *entry = PyUnicode_DecodeFSDefault(folder), *site = NULL, *done = NULL;
    int known = path && entry ? PySequence_Contains(path, entry) : -1;
    if (known == 0 && PyList_Insert(path, 0, entry) == 0 && (site = PyImport_ImportModule("site")))
        done = PyObject_CallMethod(site, "addsitedir", "O", entry);
    if (done) known = 1;
    Py_XDECREF(done);
    Py_XDECREF(site);
    Py_XDECREF(entry);
    return known == 1;
}

/* In the place of Py_InitializeEx in cffi's start. The environment's variables for Python are not ours: what a C program
 * does must not hang on them. */
void pyhv_start_python(int with_signals) {
    char interpreter[PATH_MAX], site[PATH_MAX];
    PyConfig config;
    PyStatus status;
    PyObject *backend;
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    if (!file_of((void *)find_interpreter, site, sizeof site)) site[0] = 0;
    go_up(site, 3);
    find_interpreter(interpreter, sizeof interpreter, site);
    PyConfig_InitIsolatedConfig(&config);
    config.install_signal_handlers = with_signals;
    config.site_import = 1;
    if (interpreter[0]) {
        status = PyConfig_SetBytesString(&config, &config.program_name, interpreter);
        if (PyStatus_Exception(status)) die(status);
    }
    status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    if (PyStatus_Exception(status)) die(status);
    /* Without its backend cffi would go on, and every call return 0, which is HV_SUCCESS. */
    if ((site[0] && !add_site(site)) || !(backend = PyImport_ImportModule("_cffi_backend"))) {
        PyErr_Print();
        fprintf(stderr, "libHypervisor: the Python package cffi cannot be used from %s; install pyhv with pip once more\n", site);
        abort();
    }
    Py_DECREF(backend);
}
