-- What the specs of httpd share: a script that serves, run by `mq run`, and its browsers.

local helper = require "spec.helper"
local Browser = require "spec.support.browser"

local tools = { Browser = Browser }

-- What each server script begins and ends with: `app` for the options given, and the port that it listens on.
local BEFORE = [[
local httpd = require "httpd"
local class = require "class"
io.stdout:setvbuf("line")
local app = httpd:new("spec", %s)
local function log(...) print("log: " .. table.concat({ ... }, " ")) end
]]
local AFTER = [[

print("port " .. app:listen("127.0.0.1", 0))
app:run()
print "over"
]]

-- Starts a server -> its process, with the port. `options`: the text of a table; `files`: name -> content, beside it.
function tools.serve(code, options, files)
  local dir = helper.tmpdir()
  for name, content in pairs(files or {}) do
    local folder = name:match("^(.*)/")
    if folder then
      os.execute(("mkdir -p '%s/%s'"):format(dir, folder))
    end
    local file = assert(io.open(dir .. "/" .. name, "wb"))
    file:write(content)
    file:close()
  end
  local file = assert(io.open(dir .. "/main.lua", "w"))
  file:write(BEFORE:format(options or "nil"), code, AFTER)
  file:close()
  local process = helper.start_lua(helper.root .. "/bin/mq", {
    args = { "run", "main.lua" }, cwd = dir, interp = "/bin/sh",
    env = { LUA = helper.interpreter, LUA_PATH = false, LUA_CPATH = false, NO_COLOR = "1" },
  })
  process.dir = dir
  process.port = tonumber(process:expect("port (%d+)\n"))
  function process.open(_, ...) return assert(Browser.open(process.port, ...)) end
  function process.get(_, ...) return Browser.get(process.port, ...) end
  return process
end

-- Waits until the program waits: LuaJIT's Ctrl-C ends the callback that runs.
function tools.idle(process)
  helper.eventually(function()
    local file = assert(io.open(("/proc/%d/stat"):format(process.pid)))
    local state = file:read("*a"):match("^%d+ %(.*%) (%a)")
    file:close()
    return state == "S"
  end)
end

-- Ctrl-C: 130, and nothing on standard error but what is expected -> its output.
function tools.interrupt(process, expected)
  tools.idle(process)
  process:kill("INT")
  local code, out, err = process:wait(10)
  assert(code == 130 and (expected and err:find(expected) or err == ""), ("%s: %s"):format(code, err))
  return out
end

return tools
