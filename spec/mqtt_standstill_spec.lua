-- MQ.mqtt in the middle of a rush of posts, and a broker that stands still: MQ looks by the clock for answers that come
-- in a stream, and leaves it to the broker to wake it where none come.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

local client, eventually, sys = tools.client, helper.eventually, helper.sys

local COUNT = 5000

-- How often MQ's thread has been woken so far. (Linux; nil elsewhere.)
local function wakeups()
  local tasks = io.popen("grep -lx mq /proc/" .. sys.getpid() .. "/task/*/comm 2>/dev/null")
  local name = tasks:read("*l")
  tasks:close()
  local file = name and io.open((name:gsub("comm$", "status")))
  if file then
    local text = file:read("*a")
    file:close()
    return tonumber(text:match("\nvoluntary_ctxt_switches:%s*(%d+)"))
  end
end

describe("MQ.mqtt, and a broker that stands still in a rush:", function()
  local server

  before_each(function()
    server = tools.mosquitto { quiet = true }
  end)
  after_each(function()
    tools.close_all()
    server:discard()
  end)

  for _, case in ipairs { { 1, 20 }, { 2, 20 }, { 1, 1000 } } do
    local qos, window = case[1], case[2]
    it(("nobody is busy with waiting for it, QoS %d, %d in flight"):format(qos, window), function()
      local mq = client(server, { qos = qos, max_in_flight = window, keepalive = 60 })
      assert(mq:emit("rush", "connected"))
      server:suspend()
      for number = 1, COUNT do
        assert(mq:post("rush", tostring(number)))
      end
      if wakeups() then
        eventually(function()
          local before = wakeups()
          sys.sleep(0.25)
          return wakeups() - before < 25
        end, 10, "MQ's thread sleeps")
      end
      assert.is_true(mq:stats().queued > 0, "it has a rush of posts")
      server:resume()
      assert(mq:flush(30))
      assert.equal(0, mq:stats().queued)
    end)
  end
end)
