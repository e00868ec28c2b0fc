-- S, SL, SC: a callback that counts the messages of one pattern.  subscribe.lua PORT PATTERN COUNT [luv|cqueues]
-- Says "ready" when subscribed; measures from the first message to the last.

local MQ = require "MQ.redis"
local now = require("MQ.core").now

local port, pattern, count, host = tonumber(arg[1]), arg[2], tonumber(arg[3]), arg[4]

-- Each has fn called inside the loop, and runs that until it ends.
local loops = {}

function loops.luv(fn)
  require("MQ").use "luv"
  require("MQ").loop.spawn(fn)
  require("luv").run()
end

function loops.cqueues(fn)
  require("MQ").use "cqueues"
  local queue = require("cqueues").new()
  queue:wrap(fn)
  assert(queue:loop())
end

local seen, bytes, from, cpu_from = 0, 0, nil, nil

local function subscribe()
  local mq = MQ:new { host = "127.0.0.1", port = port }
  assert(mq:on(pattern, function(msg)
    if not msg then
      error("connection lost")
    end
    if seen == 0 then
      from = now()
    end
    seen = seen + 1
    bytes = bytes + #msg.payload
    if seen == count then
      -- os.clock counts every thread of the process
      print(("seconds %.9f\ncpu %.9f\nbytes %d"):format(now() - from, os.clock() - cpu_from, bytes))
      mq:close()
    end
  end))
  print("ready")
  io.stdout:flush()
  cpu_from = os.clock()
  return mq
end

if loops[host] then
  loops[host](subscribe)
else
  subscribe():start()
end
