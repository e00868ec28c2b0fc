rockspec_format = "3.0"
package = "lua-mq"
version = "scm-1"

source = {
  url = "git+https://github.com/lua-mq/mq.git",
}

description = {
  summary = "Message queues for Lua: Redis, MQTT and STOMP behind one small API",
  detailed = "A native module (Rust inside; cargo is needed to build it) that keeps its subscriptions "
    .. "across broker restarts, bounds its queues and never blocks the host program.",
  homepage = "https://github.com/lua-mq/mq",
  license = "MIT",
}

dependencies = {
  "lua >= 5.1, < 5.6",
}

build = {
  type = "make",
  build_target = "build",
  install_target = "install",
  -- LUA is the path of the interpreter that luarocks installs for; the Makefile asks it what it is
  variables = {
    LUA = "$(LUA)",
  },
  install_variables = {
    LUADIR = "$(LUADIR)",
    LIBDIR = "$(LIBDIR)",
    BINDIR = "$(BINDIR)",
  },
}
