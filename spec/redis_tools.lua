-- What the redis_*_spec files share: clients that are closed after each spec, coroutines with a time limit.

local helper = require "spec.helper"
local MQ = require "MQ.redis"

local host = require("MQ.loop").current()
local unpack = table.unpack or unpack

local tools = { host = host, MQ = MQ, sleep = host.sleep }
local clients, brokers, stop_watch = {}, {}, nil
local LONGEST = 120

--- A client of `target` (anything with a port), closed after the spec.
function tools.client(target, options)
  local all = { host = "127.0.0.1", port = target and target.port }
  for name, value in pairs(options or {}) do
    all[name] = value
  end
  return tools.keep(MQ:new(all))
end

--- Has a client closed after the spec; and limits the spec's time, which ends even a call that waits in the main chunk.
function tools.keep(mq)
  stop_watch = stop_watch or host.after(LONGEST, function()
    stop_watch = nil
    error(("the spec took more than %d s"):format(LONGEST), 0)
  end)
  clients[#clients + 1] = mq
  return mq
end

--- For after_each.
function tools.close_all()
  if stop_watch then
    stop_watch()
    stop_watch = nil
  end
  while #clients > 0 do
    local mq = table.remove(clients)
    tools.within(5, function() mq:close(0) end)
  end
  while #brokers > 0 do
    table.remove(brokers):close()
  end
end

--- An embedded broker in this process, with `options` over `defaults`, closed after the spec -> it, and its ports.
function tools.serve(defaults, options)
  local all = {}
  for _, each in ipairs { defaults, options or {} } do
    for name, value in pairs(each) do
      all[name] = value
    end
  end
  local broker = assert(require("MQ.broker"):new(all))
  brokers[#brokers + 1] = broker
  return broker, broker:ports()
end

--- Runs fn(…) in a coroutine -> task, whose `done` is true once it has ended.
function tools.task(fn, ...)
  local task = {}
  host.guard(function(_, err, traceback)
    task.err, task.done = type(err) == "string" and traceback or err, true
  end, function(...)
    task.result = { n = 0 }
    local function keep(...)
      task.result = { n = select("#", ...), ... }
      task.done = true
    end
    keep(fn(...))
  end, ...)
  return task
end

--- Waits for a task -> what its function returned; raises what it raised, or when it takes too long.
function tools.await(task, seconds)
  helper.eventually(function() return task.done end, seconds or 10, "the coroutine ends")
  if task.err ~= nil then
    error(task.err, 0)
  end
  return unpack(task.result, 1, task.result.n)
end

--- Runs fn in a coroutine, at most so long.
function tools.within(seconds, fn, ...)
  return tools.await(tools.task(fn, ...), seconds)
end

--- Subscribes -> the list that each message is appended to; its `lost` counts the calls with nil.
function tools.inbox(mq, pattern, options)
  local list = { lost = 0 }
  local function take(message)
    if message then
      list[#list + 1] = message.payload
    else
      list.lost = list.lost + 1
    end
  end
  assert(mq:on(pattern, take, options))
  return list
end

--- Waits until the list has n entries.
function tools.expect(list, n, seconds)
  helper.eventually(function() return #list >= n end, seconds or 5, n .. " entries")
  return list
end

--- What fn raises, without its position. It has to name the line of `fn`, which is written on one line.
function tools.misuse(fn)
  local ok, err = pcall(fn)
  if ok then
    error("nothing was raised", 2)
  end
  local info = debug.getinfo(fn, "S")
  local position = ("%s:%d: "):format(info.short_src, info.linedefined)
  if tostring(err):sub(1, #position) ~= position then
    error(("raised at another line than %s: %s"):format(position, tostring(err)), 2)
  end
  return err:sub(#position + 1)
end

--- One of a client's counts, which may take a moment to come true.
function tools.stat(mq, name)
  return mq:stats()[name]
end

--- An address that never answers an attempt to connect: a listener that nobody accepts from, filled up until the
-- kernel lets connections hang -> its port, and a function that ends it.
function tools.silent_address(address, port)
  local sys = helper.sys
  local listener
  listener, port = assert(sys.listen(port or 0, address, 0))
  local waiting = {}
  local function stop()
    for _, fd in ipairs(waiting) do
      sys.close(fd)
    end
    sys.close(listener)
  end
  for i = 1, 20 do
    local fd = sys.connect(address, port, 0.1)
    if not fd then
      return port, stop
    end
    waiting[i] = fd
  end
  stop()
  error("the kernel took every connection", 2)
end

--- How many times the server has run a command.
function tools.calls(server, command)
  local calls = server:cli("INFO", "commandstats"):match("cmdstat_" .. command .. ":calls=(%d+)")
  return tonumber(calls or 0)
end

return tools
