-- What every Lua that MQ supports has; the few names that only some have are used behind a check.
std = "min"
read_globals = {
  "unpack", "jit",
  table = { fields = { "unpack", "pack" } },
  package = { fields = { "searchers", "loaders", "searchpath" } },
  coroutine = { fields = { "isyieldable", "close" } },
}
max_line_length = 120
-- spec/seed: other people's scripts, which must run as they are
exclude_files = { "lua/MQ/meta", "spec/seed", "target", "build", "fuzz" }
-- `not (x >= 0)` also catches NaN, `x < 0` does not
ignore = { "581" }

files["spec"] = { std = "min+busted" }
files["examples/hosts/nvim.lua"] = { read_globals = { "vim" } }
files["bin/mq"] = { globals = { "_" } }
