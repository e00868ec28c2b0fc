-- MQ.broker as a process of its own: `lua embedded_main.lua OPTIONS`, where OPTIONS is a Lua table as text.
-- A signal ends it.

local core = require "MQ.core"

local options = assert((rawget(_G, "loadstring") or load)("return " .. arg[1]))()
core.raise_limit()   -- some specs open thousands of connections
local broker, err = require("MQ.broker"):new(options)
if not broker then
  io.stderr:write(err, "\n")
  os.exit(1)
end
broker:start()
