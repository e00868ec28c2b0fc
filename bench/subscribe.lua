-- S, SL, SC: a callback that counts the messages of one pattern.  subscribe.lua PORT PATTERN COUNT [luv|cqueues]

local MQ = require "MQ.redis"
local count_arrivals = require "bench.arrivals"

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

local function subscribe()
  local mq = MQ:new { host = "127.0.0.1", port = port }
  count_arrivals(mq, pattern, count)
  return mq
end

if loops[host] then
  loops[host](subscribe)
else
  subscribe():start()
end
