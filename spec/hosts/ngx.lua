-- The scenario in a worker of nginx: in a timer, whose callbacks may use all of ngx_lua.

local ngx = package.loaded.ngx

local function every(seconds, fn)
  local stopped = false
  local function turn()
    if not stopped then
      fn()
      ngx.timer.at(seconds, turn)
    end
  end
  ngx.timer.at(seconds, turn)
  return function()
    stopped = true
  end
end

-- nginx counts from when it has last looked at the clock: a sleep may end too early.
ngx.timer.at(0, function()
  require "spec.hosts.scenario" { sleep = ngx.sleep, every = every }
  local ffi = require "ffi"
  ffi.cdef "int kill(int pid, int signal);"
  ffi.C.kill(require("ngx.process").get_master_pid(), 3)   -- QUIT: nginx ends when its workers have ended
end)
