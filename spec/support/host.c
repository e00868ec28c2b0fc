/* A C program that hosts Lua states, as a server or a game would:
 *
 *   host close N SCRIPT [ARG…]     N times: new state, run SCRIPT, close the state
 *   host threads N SCRIPT [ARG…]   the same in two threads at once, N times each
 *
 * SCRIPT gets `arg` = {ARG…}, and `round` and `thread` as globals. It returns while messages pour in,
 * so that the state is closed under the runtime thread of the module. Prints "closed N". */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static int rounds, arguments, wrong;
static char **argument;
static const char *script;

static int run_once(int round, int thread) {
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_newtable(L);
    for (int i = 0; i < arguments; i++) {
        lua_pushstring(L, argument[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setglobal(L, "arg");
    lua_pushinteger(L, round);
    lua_setglobal(L, "round");
    lua_pushinteger(L, thread);
    lua_setglobal(L, "thread");
    int bad = luaL_loadfile(L, script) || lua_pcall(L, 0, 0, 0);
    if (bad) fprintf(stderr, "round %d, thread %d: %s\n", round, thread, lua_tostring(L, -1));
    lua_close(L);
    return bad;
}

static void *run_all(void *thread) {
    for (int round = 1; round <= rounds; round++)
        if (run_once(round, *(int *)thread)) __atomic_store_n(&wrong, 1, __ATOMIC_RELAXED);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: host close|threads N SCRIPT [ARG…]\n");
        return 2;
    }
    int numbers[] = {1, 2}, threads = strcmp(argv[1], "threads") ? 1 : 2;
    rounds = atoi(argv[2]);
    script = argv[3];
    argument = argv + 4;
    arguments = argc - 4;
    if (threads == 1) {
        run_all(&numbers[0]);
    } else {
        pthread_t ids[2];
        for (int i = 0; i < threads; i++) pthread_create(&ids[i], NULL, run_all, &numbers[i]);
        for (int i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    }
    printf("closed %d\n", rounds * threads);
    return wrong;
}
