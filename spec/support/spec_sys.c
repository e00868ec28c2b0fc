/* Processes, pipes and sockets for specs and benches, on every Lua version.
 *
 * Every call either works at once or takes a time limit; none sleeps where an event can be
 * waited for. Children die with the process that started them (Linux: PR_SET_PDEATHSIG), so that
 * a killed test run leaves no redis-server behind. Failures return nil, message, errno.
 * It knows nothing of MQ. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_NUM < 502
#define lua_rawlen lua_objlen
#endif

extern char **environ;

static int failed(lua_State *L) {
    int code = errno;
    lua_pushnil(L);
    lua_pushstring(L, strerror(code));
    lua_pushinteger(L, code);
    return 3;
}

static int timed_out(lua_State *L) {
    lua_pushnil(L);
    lua_pushliteral(L, "timeout");
    return 2;
}

static double monotonic(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Milliseconds until deadline for poll(2), rounded up; -1 for "no limit". */
static int remaining(double deadline) {
    if (deadline < 0) return -1;
    double left = (deadline - monotonic()) * 1000.0;
    return left <= 0 ? 0 : left > 1e9 ? 1000000000 : (int)left + 1;
}

static double deadline_of(lua_State *L, int index) {
    return lua_isnoneornil(L, index) ? -1 : monotonic() + (double)luaL_checknumber(L, index);
}

/* True when fd is ready within the limit; restarts after signals. */
static int ready(int fd, short events, double deadline) {
    struct pollfd p = {.fd = fd, .events = events};
    for (;;) {
        int n = poll(&p, 1, remaining(deadline));
        if (n > 0) return 1;
        if (n == 0 || errno != EINTR) return 0;
    }
}

/* ---- time and identity ------------------------------------------------------------------- */

static int sys_now(lua_State *L) {
    lua_pushnumber(L, monotonic());
    return 1;
}

/* For helper processes that have nothing to wait for: a proxy that delays, say. */
static int sys_sleep(lua_State *L) {
    double deadline = deadline_of(L, 1);
    while (remaining(deadline) > 0) poll(NULL, 0, remaining(deadline));
    return 0;
}

static int sys_getpid(lua_State *L) {
    lua_pushinteger(L, getpid());
    return 1;
}

/* The interpreter that runs this. */
static int sys_exe(lua_State *L) {
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path);
    if (n < 0) return failed(L);
    lua_pushlstring(L, path, (size_t)n);
    return 1;
}

static int sys_cwd(lua_State *L) {
    char path[4096];
    if (!getcwd(path, sizeof path)) return failed(L);
    lua_pushstring(L, path);
    return 1;
}

static int sys_mkdtemp(lua_State *L) {
    char path[256];
    lua_pushfstring(L, "%s/%s.XXXXXX", luaL_checkstring(L, 1), luaL_checkstring(L, 2));
    strncpy(path, lua_tostring(L, -1), sizeof path - 1);
    path[sizeof path - 1] = 0;
    if (!mkdtemp(path)) return failed(L);
    lua_pushstring(L, path);
    return 1;
}

/* ---- processes --------------------------------------------------------------------------- */

static void die_with_parent(pid_t parent) {
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    if (getppid() != parent) _exit(127); /* it died before the line above */
}

static int fd_field(lua_State *L, const char *name) {
    lua_getfield(L, 1, name);
    int fd = lua_isnil(L, -1) ? -1 : (int)luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return fd;
}

/* A NULL-terminated array of the strings t[1..n]; they stay alive in the table. */
static char **strings(lua_State *L, int index) {
    size_t n = lua_rawlen(L, index);
    char **list = lua_newuserdata(L, (n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        lua_rawgeti(L, index, (int)i + 1);
        list[i] = (char *)luaL_checkstring(L, -1);
        lua_pop(L, 1);
    }
    list[n] = NULL;
    return list;
}

/* spawn{program, argument…, env = {"A=b", …}, cwd =, stdin =, stdout =, stderr = descriptors} -> pid
 * Descriptors that are not given are /dev/null for stdin and inherited for the others. */
static int sys_spawn(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    int in = fd_field(L, "stdin"), out = fd_field(L, "stdout"), err = fd_field(L, "stderr");
    char **argv = strings(L, 1);
    if (!argv[0]) return luaL_error(L, "spawn: no program");
    lua_getfield(L, 1, "env");
    char **env = lua_isnil(L, -1) ? environ : strings(L, lua_gettop(L));
    lua_getfield(L, 1, "cwd");
    const char *cwd = lua_tostring(L, -1);
    int report[2];
    if (pipe2(report, O_CLOEXEC)) return failed(L);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        die_with_parent(parent);
        signal(SIGPIPE, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        sigprocmask(SIG_SETMASK, &none, NULL);
        if (in < 0) in = open("/dev/null", O_RDONLY);
        /* dup2 clears FD_CLOEXEC, which is why it is done even where the numbers agree */
        int ok = (in == 0 ? fcntl(0, F_SETFD, 0) : dup2(in, 0)) >= 0 &&
                 (out < 0 || dup2(out, 1) >= 0) && (err < 0 || dup2(err, 2) >= 0) &&
                 (!cwd || chdir(cwd) == 0);
        if (ok) {
            int limit = (int)sysconf(_SC_OPEN_MAX);
            for (int fd = 3; fd < limit && fd < 4096; fd++)
                if (fd != report[1]) close(fd);
            environ = env;
            execvp(argv[0], argv);
        }
        int code = errno;
        if (write(report[1], &code, sizeof code) < 0) _exit(126);
        _exit(127);
    }
    int code = errno;
    close(report[1]);
    if (pid > 0 && read(report[0], &code, sizeof code) == sizeof code) {
        waitpid(pid, NULL, 0);
        pid = -1;
    }
    close(report[0]);
    errno = code;
    if (pid < 0) return failed(L);
    lua_pushinteger(L, pid);
    return 1;
}

/* fork() -> 0 in the child, its pid in the parent */
static int sys_fork(lua_State *L) {
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) return failed(L);
    if (pid == 0) die_with_parent(parent);
    lua_pushinteger(L, pid);
    return 1;
}

/* Ends the process without running any clean-up: for forked children. */
static int sys_exit_now(lua_State *L) { _exit((int)luaL_optinteger(L, 1, 0)); }

static int sys_kill(lua_State *L) {
    static const char *const names[] = {"KILL", "TERM", "INT",  "QUIT", "HUP",
                                        "STOP", "CONT", "USR1", "0",    NULL};
    static const int numbers[] = {SIGKILL, SIGTERM, SIGINT,  SIGQUIT, SIGHUP,
                                  SIGSTOP, SIGCONT, SIGUSR1, 0};
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    if (pid <= 1) return luaL_argerror(L, 1, "one process, please");
    if (kill(pid, numbers[luaL_checkoption(L, 2, NULL, names)])) return failed(L);
    lua_pushboolean(L, 1);
    return 1;
}

/* True once the child has ended, false at the deadline. */
static int ended(pid_t pid, double deadline) {
#ifdef SYS_pidfd_open
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd >= 0) {
        int yes = ready(fd, POLLIN, deadline);
        close(fd);
        return yes;
    }
#endif
    for (;;) { /* kernels without pidfd: look every 2 ms */
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid) return 1;
        if (deadline >= 0 && !remaining(deadline)) return 0;
        poll(NULL, 0, 2);
    }
}

/* wait(pid [, seconds]) -> "exit" | "signal", number, user seconds, system seconds, peak KiB
 *                        | nil, "timeout" */
static int sys_wait(lua_State *L) {
    pid_t pid = (pid_t)luaL_checkinteger(L, 1);
    double deadline = deadline_of(L, 2);
    struct rusage use;
    int status;
    if (deadline >= 0 && !ended(pid, deadline)) return timed_out(L);
    while (wait4(pid, &status, 0, &use) < 0)
        if (errno != EINTR) return failed(L);
    lua_pushstring(L, WIFSIGNALED(status) ? "signal" : "exit");
    lua_pushinteger(L, WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    lua_pushnumber(L, (double)use.ru_utime.tv_sec + (double)use.ru_utime.tv_usec / 1e6);
    lua_pushnumber(L, (double)use.ru_stime.tv_sec + (double)use.ru_stime.tv_usec / 1e6);
    lua_pushinteger(L, use.ru_maxrss);
    return 5;
}

/* ---- descriptors ------------------------------------------------------------------------- */

static int sys_pipe(lua_State *L) {
    int fd[2];
    if (pipe2(fd, O_CLOEXEC)) return failed(L);
    lua_pushinteger(L, fd[0]);
    lua_pushinteger(L, fd[1]);
    return 2;
}

/* read(fd [, n [, seconds]]) -> up to n bytes, "" at the end | nil, "timeout" */
static int sys_read(lua_State *L) {
    int fd = (int)luaL_checkinteger(L, 1);
    size_t n = (size_t)luaL_optinteger(L, 2, 65536);
    double deadline = deadline_of(L, 3);
    char *buffer = lua_newuserdata(L, n);
    if (!ready(fd, POLLIN, deadline)) return timed_out(L);
    ssize_t got;
    do got = read(fd, buffer, n);
    while (got < 0 && errno == EINTR);
    if (got < 0) return failed(L);
    lua_pushlstring(L, buffer, (size_t)got);
    return 1;
}

/* One write that raises no SIGPIPE. The disposition of the signal is not changed: whether MQ
 * itself survives a closed socket must show. */
static ssize_t quiet_write(int fd, const char *data, size_t size, int flags) {
    ssize_t n = send(fd, data, size, MSG_NOSIGNAL | flags);
    if (n >= 0 || errno != ENOTSOCK) return n;
    sigset_t pipe_signal, before;
    struct timespec zero = {0, 0};
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    n = write(fd, data, size);
    int code = errno;
    if (n < 0 && code == EPIPE) sigtimedwait(&pipe_signal, NULL, &zero);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = code;
    return n;
}

/* write(fd, data [, seconds]) -> true once all of it is written */
static int sys_write(lua_State *L) {
    int fd = (int)luaL_checkinteger(L, 1);
    size_t size, done = 0;
    const char *data = luaL_checklstring(L, 2, &size);
    double deadline = deadline_of(L, 3);
    while (done < size) {
        if (!ready(fd, POLLOUT, deadline)) return timed_out(L);
        ssize_t n = quiet_write(fd, data + done, size - done, deadline < 0 ? 0 : MSG_DONTWAIT);
        if (n > 0) done += (size_t)n;
        else if (n < 0 && errno != EINTR && errno != EAGAIN) return failed(L);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* write_some(fd, data) -> number of bytes taken, which may be 0; never blocks (sockets) */
static int sys_write_some(lua_State *L) {
    size_t size;
    const char *data = luaL_checklstring(L, 2, &size);
    ssize_t n = quiet_write((int)luaL_checkinteger(L, 1), data, size, MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN && errno != EINTR) return failed(L);
    lua_pushinteger(L, n < 0 ? 0 : n);
    return 1;
}

static int sys_close(lua_State *L) {
    if (close((int)luaL_checkinteger(L, 1))) return failed(L);
    lua_pushboolean(L, 1);
    return 1;
}

/* Closes a TCP socket with a reset instead of a FIN. */
static int sys_reset(lua_State *L) {
    struct linger now = {1, 0};
    setsockopt((int)luaL_checkinteger(L, 1), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    return sys_close(L);
}

static void collect(lua_State *L, int index, struct pollfd *fds, int n, short events) {
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, index, i + 1);
        fds[i].fd = (int)luaL_checkinteger(L, -1);
        fds[i].events = events;
        fds[i].revents = 0;
        lua_pop(L, 1);
    }
}

static void push_ready(lua_State *L, const struct pollfd *fds, int n) {
    lua_newtable(L);
    for (int i = 0; i < n; i++)
        if (fds[i].revents) {
            lua_pushboolean(L, 1);
            lua_rawseti(L, -2, fds[i].fd);
        }
}

/* poll({fd…}, {fd…} [, seconds]) -> {[fd] = true…} readable, {[fd] = true…} writable */
static int sys_poll(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    double deadline = deadline_of(L, 3);
    int r = (int)lua_rawlen(L, 1), w = (int)lua_rawlen(L, 2);
    struct pollfd *fds = lua_newuserdata(L, (size_t)(r + w + 1) * sizeof *fds);
    collect(L, 1, fds, r, POLLIN);
    collect(L, 2, fds + r, w, POLLOUT);
    while (poll(fds, (nfds_t)(r + w), remaining(deadline)) < 0)
        if (errno != EINTR) return failed(L);
    push_ready(L, fds, r);
    push_ready(L, fds + r, w);
    return 2;
}

/* ---- sockets ----------------------------------------------------------------------------- */

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
};

/* "127.0.0.1", "::1" or the path of a unix socket */
static socklen_t address_of(union address *a, const char *host, int port) {
    memset(a, 0, sizeof *a);
    if (host[0] == '/') {
        a->local.sun_family = AF_UNIX;
        strncpy(a->local.sun_path, host, sizeof a->local.sun_path - 1);
        return sizeof a->local;
    }
    if (strchr(host, ':')) {
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = htons((unsigned short)port);
        inet_pton(AF_INET6, host, &a->v6.sin6_addr);
        return sizeof a->v6;
    }
    a->v4.sin_family = AF_INET;
    a->v4.sin_port = htons((unsigned short)port);
    inet_pton(AF_INET, host, &a->v4.sin_addr);
    return sizeof a->v4;
}

static int close_failed(lua_State *L, int fd) {
    int code = errno;
    close(fd);
    errno = code;
    return failed(L);
}

/* listen([port [, host [, backlog]]]) -> fd, port; backlog < 0: whoever connects is refused, and nobody else gets the
 * port */
static int sys_listen(lua_State *L) {
    union address a;
    socklen_t size =
        address_of(&a, luaL_optstring(L, 2, "127.0.0.1"), (int)luaL_optinteger(L, 1, 0));
    int backlog = (int)luaL_optinteger(L, 3, 128);
    int one = 1, none = 0, fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return failed(L);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, &a.any, size) || (backlog >= 0 && listen(fd, backlog)) || getsockname(fd, &a.any, &size))
        return close_failed(L, fd);
    /* two that do not listen would share it */
    if (backlog < 0) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &none, sizeof none);
    lua_pushinteger(L, fd);
    lua_pushinteger(L, a.any.sa_family == AF_INET6 ? ntohs(a.v6.sin6_port) : ntohs(a.v4.sin_port));
    return 2;
}

static int no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

/* accept(fd [, seconds]) -> fd | nil, "timeout" */
static int sys_accept(lua_State *L) {
    int listener = (int)luaL_checkinteger(L, 1);
    if (!ready(listener, POLLIN, deadline_of(L, 2))) return timed_out(L);
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) return failed(L);
    lua_pushinteger(L, no_delay(fd));
    return 1;
}

/* connect(host or path, port [, seconds]) -> fd */
static int sys_connect(lua_State *L) {
    union address a;
    socklen_t size =
        address_of(&a, luaL_checkstring(L, 1), (int)luaL_optinteger(L, 2, 0));
    double deadline = deadline_of(L, 3);
    int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return failed(L);
    if (connect(fd, &a.any, size)) {
        socklen_t length = sizeof errno;
        if (errno != EINPROGRESS) return close_failed(L, fd);
        if (!ready(fd, POLLOUT, deadline)) {
            close(fd);
            return timed_out(L);
        }
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &errno, &length);
        if (errno) return close_failed(L, fd);
    }
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    lua_pushinteger(L, no_delay(fd));
    return 1;
}

static const luaL_Reg functions[] = {
    {"now", sys_now},           {"sleep", sys_sleep},   {"getpid", sys_getpid},
    {"exe", sys_exe},           {"cwd", sys_cwd},       {"mkdtemp", sys_mkdtemp},
    {"spawn", sys_spawn},       {"fork", sys_fork},     {"exit_now", sys_exit_now},
    {"kill", sys_kill},         {"wait", sys_wait},     {"pipe", sys_pipe},
    {"read", sys_read},         {"write", sys_write},   {"write_some", sys_write_some},
    {"close", sys_close},       {"reset", sys_reset},   {"poll", sys_poll},
    {"listen", sys_listen},     {"accept", sys_accept}, {"connect", sys_connect},
    {NULL, NULL},
};

int luaopen_spec_sys(lua_State *L);
int luaopen_spec_sys(lua_State *L) {
    lua_newtable(L);
    for (const luaL_Reg *f = functions; f->name; f++) {
        lua_pushcfunction(L, f->func);
        lua_setfield(L, -2, f->name);
    }
    return 1;
}
