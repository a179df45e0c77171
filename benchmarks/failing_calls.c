/* Counts the system calls on files of one folder, and lets the n-th of them fail once. Loaded with LD_PRELOAD. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHORT (-1) /* in place of an error: the n-th write writes a half */

static char folder[4096];
static atomic_int armed, count, target, number;
static char failed[64];

/* Let the n-th call on a path below a folder fail with an errno, or be short; 0: none, and only count. */
void arm(const char *below, int n, int error) {
    snprintf(folder, sizeof folder, "%s", below);
    failed[0] = 0;
    count = 0;
    target = n;
    number = error;
    armed = 1;
}

/* Return the name of the call that has failed, "" where none has. */
const char *disarm(void) {
    armed = 0;
    return failed;
}

static int below(const char *path) { return path != NULL && strncmp(path, folder, strlen(folder)) == 0; }

static int open_below(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = syscall(SYS_readlink, link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

/* Tell whether this call is the one, and set errno. */
static int is_the_one(const char *name, int is_below) {
    if (!is_below || atomic_fetch_add(&count, 1) + 1 != target) return 0;
    snprintf(failed, sizeof failed, "%s", name);
    if (number != SHORT) errno = number;
    return 1;
}

#define FAILS_AT(name, path) (armed && number != SHORT && is_the_one(name, below(path)))
#define FAILS_ON(name, file) (armed && number != SHORT && is_the_one(name, open_below(file)))
#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Calls by path. */
#define BY_PATH(name, type, failure, parameters, path, arguments) \
    type name parameters {                                        \
        if (FAILS_AT(#name, path)) return failure;                \
        return REAL(name) arguments;                              \
    }
BY_PATH(rename, int, -1, (const char *from, const char *to), to, (from, to))
BY_PATH(renameat, int, -1, (int a, const char *from, int b, const char *to), to, (a, from, b, to))
BY_PATH(link, int, -1, (const char *from, const char *to), to, (from, to))
BY_PATH(linkat, int, -1, (int a, const char *from, int b, const char *to, int f), to, (a, from, b, to, f))
BY_PATH(unlink, int, -1, (const char *path), path, (path))
BY_PATH(unlinkat, int, -1, (int at, const char *path, int f), path, (at, path, f))
BY_PATH(opendir, DIR *, NULL, (const char *path), path, (path))
BY_PATH(stat, int, -1, (const char *restrict path, struct stat *restrict s), path, (path, s))
BY_PATH(stat64, int, -1, (const char *restrict path, struct stat64 *restrict s), path, (path, s))
BY_PATH(lstat, int, -1, (const char *restrict path, struct stat *restrict s), path, (path, s))
BY_PATH(lstat64, int, -1, (const char *restrict path, struct stat64 *restrict s), path, (path, s))

/* Calls by a file that is open. */
#define BY_FILE(name, type, failure, parameters, file, arguments) \
    type name parameters {                                        \
        if (FAILS_ON(#name, file)) return failure;                \
        return REAL(name) arguments;                              \
    }
BY_FILE(fsync, int, -1, (int file), file, (file))
BY_FILE(fdatasync, int, -1, (int file), file, (file))
BY_FILE(ftruncate, int, -1, (int file, off_t size), file, (file, size))
BY_FILE(ftruncate64, int, -1, (int file, off64_t size), file, (file, size))
BY_FILE(lseek, off_t, -1, (int file, off_t to, int from), file, (file, to, from))
BY_FILE(lseek64, off64_t, -1, (int file, off64_t to, int from), file, (file, to, from))
BY_FILE(fstat, int, -1, (int file, struct stat *s), file, (file, s))
BY_FILE(fstat64, int, -1, (int file, struct stat64 *s), file, (file, s))
BY_FILE(read, ssize_t, -1, (int file, void *to, size_t size), file, (file, to, size))
BY_FILE(sendfile, ssize_t, -1, (int out, int in, off_t *at, size_t size), out, (out, in, at, size))
BY_FILE(sendfile64, ssize_t, -1, (int out, int in, off64_t *at, size_t size), out, (out, in, at, size))

/* statx has an empty path where it is of a file that is open. */
int statx(int at, const char *restrict path, int flags, unsigned mask, struct statx *restrict s) {
    if (*path ? FAILS_AT("statx", path) : FAILS_ON("statx", at)) return -1;
    return REAL(statx)(at, path, flags, mask, s);
}

void *mmap(void *where, size_t size, int access, int flags, int file, off_t from) {
    if (file >= 0 && FAILS_ON("mmap", file)) return (void *)-1;
    return (void *)syscall(SYS_mmap, where, size, access, flags, file, from);
}

void *mmap64(void *where, size_t size, int access, int flags, int file, off64_t from) {
    return mmap(where, size, access, flags, file, from);
}

/* As on Linux, a file is closed whatever close says. */
int close(int file) {
    int fails = FAILS_ON("close", file), error = errno;
    int done = (int)syscall(SYS_close, file);
    if (!fails) return done;
    errno = error;
    return -1;
}

/* Return how many bytes to write: a half where this write is to be short, -1 where it fails. */
static ssize_t bytes_to_write(const char *name, int file, size_t size) {
    if (!armed || !is_the_one(name, open_below(file))) return (ssize_t)size;
    return number == SHORT ? (ssize_t)((size + 1) / 2) : -1;
}

ssize_t write(int file, const void *from, size_t size) {
    ssize_t some = bytes_to_write("write", file, size);
    return some < 0 ? -1 : syscall(SYS_write, file, from, some);
}

ssize_t pwrite64(int file, const void *from, size_t size, off64_t at) {
    ssize_t some = bytes_to_write("pwrite", file, size);
    return some < 0 ? -1 : syscall(SYS_pwrite64, file, from, some, at);
}

ssize_t writev(int file, const struct iovec *parts, int number_of_parts) {
    size_t size = 0;
    for (int part = 0; part < number_of_parts; part++) size += parts[part].iov_len;
    ssize_t some = bytes_to_write("writev", file, size);
    if (some < 0) return -1;
    if ((size_t)some < size) return syscall(SYS_write, file, parts[0].iov_base, (parts[0].iov_len + 1) / 2);
    return syscall(SYS_writev, file, parts, number_of_parts);
}

/* open has a mode where it makes a file. */
#define OPENS(name)                                                     \
    int name(const char *path, int flags, ...) {                        \
        va_list more;                                                   \
        va_start(more, flags);                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                   \
        if (FAILS_AT("open", path)) return -1;                          \
        return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);   \
    }
#define OPENS_AT(name)                                                  \
    int name(int at, const char *path, int flags, ...) {                \
        va_list more;                                                   \
        va_start(more, flags);                                          \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                   \
        if (FAILS_AT("openat", path)) return -1;                        \
        return (int)syscall(SYS_openat, at, path, flags, mode);         \
    }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
