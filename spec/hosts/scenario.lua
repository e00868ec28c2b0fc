-- What MQ has to do in every host, as a program in it: spec/host_loops_spec.lua starts it in each, reads what it says
-- and restarts the broker when it is told to.
-- Must not know: which host runs it.
--
-- `host`: sleep(seconds) parks as the host's own programs do; every(seconds, fn) → stop is a timer of the host.

local core = require "MQ.core"

local MESSAGES = 10000

local function say(...)
  local words = {}
  for index = 1, select("#", ...) do
    words[index] = tostring((select(index, ...)))
  end
  io.stdout:write(table.concat(words, " "), "\n")
  io.stdout:flush()
end

local function scenario(host)
  local MQ = require "MQ"
  local url = os.getenv("MQ_URL")

  local function wait_for(what, condition)
    local deadline = core.now() + 20
    while not condition() do
      if core.now() > deadline then
        error("not within 20 s: " .. what, 2)
      end
      host.sleep(0.002)
    end
  end

  local errors, lost, connected = {}, 0, 0
  local mq = MQ.connect(url, {
    on_error = function(_, err) errors[#errors + 1] = err end,
    on_connect = function() connected = connected + 1 end,
    reconnect = { min = 0.05, max = 0.2 },
  })
  local publisher = MQ.connect(url, { reconnect = { min = 0.05, max = 0.2 } })
  say("host", MQ.loop.name)

  -- Ten thousand messages through a callback that yields, while a timer of the host keeps its pace.
  local got, in_order = 0, true
  local function take(msg)
    if not msg then
      lost = lost + 1
      return
    end
    got = got + 1
    in_order = in_order and tonumber(msg.payload) == got
    host.sleep(0)
    in_order = in_order and tonumber(msg.payload) == got   -- nobody else has been called meanwhile
  end
  assert(mq:on("spec/numbers", take))
  wait_for("on_connect", function() return connected == 1 end)
  local ticks, gap, last = 0, 0, core.now()
  local stop = host.every(0.01, function()
    local now = core.now()
    ticks, gap, last = ticks + 1, math.max(gap, now - last), now
  end)
  local began = core.now()
  for index = 1, MESSAGES do
    assert(publisher:post("spec/numbers", tostring(index)))
  end
  assert(publisher:flush())
  wait_for("all messages", function() return got == MESSAGES end)
  wait_for("a tick", function() return ticks > 1 end)
  stop()
  say(("messages %d in order %s, %.2f s; ticks %d, longest gap %.3f s"):format(got, tostring(in_order),
    core.now() - began, ticks, gap))

  -- Callbacks of two subscriptions and several emits wait beside each other.
  local inside, most = 0, 0
  for _, name in ipairs { "spec/one", "spec/two" } do
    assert(mq:on(name, function(msg)
      if msg then
        inside = inside + 1
        most = math.max(most, inside)
        wait_for("the other callback", function() return most == 2 end)
        inside = inside - 1
      end
    end))
  end
  local emitted = 0
  for index = 1, 20 do
    MQ.loop.spawn(function()
      assert(publisher:emit(index % 2 == 0 and "spec/one" or "spec/two", "x"))
      emitted = emitted + 1
    end)
  end
  wait_for("the emits", function() return emitted == 20 and inside == 0 end)
  say("callbacks beside each other", most)

  -- A post is on its way before the loop sleeps, or very soon.
  local slowest = 0
  local echoed
  assert(mq:on("spec/echo", function(msg) echoed = msg and core.now() end))
  for _ = 1, 20 do
    echoed = nil
    local sent = core.now()
    assert(publisher:post("spec/echo", "x"))
    wait_for("the echo", function() return echoed end)
    slowest = math.max(slowest, echoed - sent)
  end
  say(("slowest echo of a post %.4f s"):format(slowest))

  -- An error in a callback is told, and the subscription goes on.
  local survived = 0
  assert(mq:on("spec/error", function(msg)
    if msg and msg.payload == "raise" then
      host.sleep(0)
      error("on purpose")
    end
    survived = survived + (msg and 1 or 0)
  end))
  assert(publisher:emit("spec/error", "raise"))
  assert(publisher:emit("spec/error", "go on"))
  wait_for("the message after the error", function() return survived == 1 end)
  wait_for("on_error", function() return #errors > 0 end)
  say("error told", errors[1]:find("on purpose", 1, true) ~= nil and errors[1]:find("traceback") ~= nil)

  -- off
  assert(mq:off("spec/error"))
  assert(publisher:emit("spec/error", "nobody"))
  assert(publisher:emit("spec/numbers", tostring(got + 1)))
  wait_for("a message after off", function() return got == MESSAGES + 1 end)
  say("after off", survived)

  -- Time: what waits for nothing gives up, and the loop's timers work.
  local before = core.now()
  MQ.loop.sleep(0.05)
  local slept = core.now() - before
  local fired = 0
  local timer = MQ.loop.at(0.01, function() fired = fired + 1 end)
  MQ.loop.timeout(0.01, function() MQ.loop.sleep(0) fired = fired + 100 end)
  wait_for("the timers", function() return fired >= 103 end)
  timer:stop()
  host.sleep(0.05)   -- a turn that was due already may still come
  local stopped_at = fired
  host.sleep(0.05)
  say("sleep", slept >= 0.049, "timers", fired == stopped_at)

  -- The broker goes and comes.
  errors = {}
  local had = got
  say("restart")
  wait_for("the loss", function() return lost >= 1 end)
  say("lost")
  wait_for("the connection", function() return connected >= 2 end)   -- it may break once more
  assert(publisher:emit("spec/numbers", tostring(had + 1)))
  wait_for("a message after the restart", function() return got == had + 1 end)
  say("back")

  -- Nothing to do costs nothing.
  local cpu = os.clock()
  host.sleep(1)
  say(("idle second: %.3f s of CPU"):format(os.clock() - cpu))

  assert(mq:close())
  assert(publisher:close())
  local ok, _, code = publisher:emit("spec/numbers", "late")
  say("closed", ok, code)
  say("done")
end

return scenario
