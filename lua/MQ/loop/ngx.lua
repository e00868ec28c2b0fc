--- MQ in nginx with ngx_lua, as in OpenResty: a timer in each worker process that lasts as long as that, the *pump*.
-- Must not know: clients, messages, protocols.
--
-- nginx watches no descriptor of others, but a cosocket may connect to a unix socket: so the port listens on one, and
-- sends a byte whenever there is something to see to (port:doorbell). A cosocket belongs to the request or timer that
-- has made it, and a request ends: so the pump reads it, and keeps time besides. Who waits, waits for a semaphore,
-- which anybody may post.
--
-- A worker that is told to end does so when it has run out of timers. nginx tells by calling one that is far away
-- before its time.

local compat = require "MQ.compat"
local core = require "MQ.core"
local ngx = package.loaded.ngx
local semaphore = require "ngx.semaphore"
local threads = require "MQ.loop.ngx_threads"
local timers = require "MQ.timers"

local FOREVER, RETRY = threads.FOREVER, threads.RETRY
local SHORTEST = 0.001
local ROUND = 0.1   -- between two looks where it has to poll
local LOOK = 5      -- nginx may have dropped the timer that tells of the end, as one too many
local FAR = 1e9
local GRACE = 1   -- seconds which requests have to finish in when the worker is told to end; then its clients close

local loop = { name = "ngx", idle_ends = true, pushes = true }

local semaphores = setmetatable({}, { __mode = "k" })   -- whoever has parked → what wakes it
local check_threads, end_threads = threads.attach(loop, semaphores)

local function bounded(seconds)
  return math.max(math.min(seconds, FOREVER), SHORTEST)
end

------------------------------------------------------------------------------------------------------------ the pump

local port                           -- which it serves
local notice                         -- what it calls when there is something to see to
local state                          -- what the clients have to say
local pumping, leaving, ended = false, false, false
local sleepers, clock, ticking = timers.new(), semaphore.new(0), false
local next_turn = {}                 -- whoever sleeps for no time at all

-- Has the clock look at everything again, after what is ready has run.
local function tick()
  if not ticking then
    ticking = true
    clock:post(1)
  end
end

local function stop()
  ended = true
  port:ring()
  tick()
end

-- Ends everything, so that the worker can.
local function leave()
  ngx.sleep(GRACE)
  state.close()
  stop()
  end_threads()
end

local function keep_time()
  repeat
    local seconds = check_threads() and RETRY or LOOK
    if sleepers[1] then
      seconds = math.min(sleepers[1].at - core.now(), seconds)
    end
    clock:wait(bounded(seconds))
    ticking = false
    if not leaving and ngx.worker.exiting() then
      leaving = true
      ngx.thread.spawn(leave)
    end
    local now = core.now()
    while sleepers[1] and sleepers[1].at <= now do
      local sleeper = sleepers[1]
      timers.remove(sleepers, sleeper)
      sleeper.fn()
    end
    port:push()
    port:remind()   -- of what is left when MQ's coroutines have taken what they take in one turn
  until ended
end

local function connect()
  local path, err = port:doorbell()
  if path then
    local socket = ngx.socket.tcp()
    socket:settimeout(FOREVER * 1000)
    local ok
    ok, err = socket:connect("unix:" .. path)
    if ok then
      ok, err = port:answer()
    end
    if ok then
      return socket
    end
    socket:close()
  end
  return nil, err
end

local function serve()
  port:hush()
  local wakes = next_turn
  next_turn = {}
  for _, wake in ipairs(wakes) do
    wake()
  end
  notice()
  tick()
end

local function listen()
  local socket, told
  while not ended do
    local bytes, err
    if not socket then
      socket, err = connect()
    end
    if socket then
      told = false
      bytes, err = socket:receiveany(64)
      if not bytes and err ~= "timeout" then
        socket:close()
        socket = nil
      end
    else
      if not told then
        told = true
        ngx.log(ngx.ERR, "MQ cannot connect to its own socket, looks ten times a second instead, and tries on: ", err)
      end
      ngx.sleep(ROUND)
    end
    serve()
  end
  if socket then
    socket:close()
  end
end

-- A worker that is told to end may still have requests, and these may need MQ: then the pump starts again.
local start_pump = threads.starter(function()
  if pumping then
    return
  end
  pumping, leaving, ended = true, false, false
  ngx.thread.spawn(keep_time)
  tick()
  listen()
  pumping = false
end)

function loop.watch(_, fn, of)
  if ngx.get_phase() == "init" then
    error("MQ: init_by_lua runs before nginx forks its workers: make clients in init_worker_by_lua or later", 0)
  end
  port, notice, state = core.port(), fn, of
  local ok, err = ngx.timer.at(FAR, function(premature)
    if premature then
      tick()
    end
  end)
  if not ok then
    error("MQ: nginx gives no timer: " .. err, 0)
  end
  start_pump()
  return stop
end

------------------------------------------------------------------------------------------------------------- waiting

function loop.running()
  return threads.identity(compat.yieldable())
end

require("MQ.parking").attach(loop, function()
  return threads.identity(coroutine.running())
end, function(co, seconds)
  local wakes = semaphores[co]
  if not wakes then
    wakes = semaphore.new(0)
    semaphores[co] = wakes
  end
  wakes:wait(bounded(seconds or FOREVER))
end, function(co)
  semaphores[co]:post(1)
end, function()
  if not pumping then
    start_pump()
  end
  tick()
end)

function loop.after(seconds, fn)
  local sleeper = { fn = fn }
  timers.add(sleepers, sleeper, core.now() + seconds)
  if sleepers[1] == sleeper then
    tick()
  end
  return function()
    timers.remove(sleepers, sleeper)
  end
end

--- ngx.sleep(0) is not for this: an nginx without one of OpenResty's patches logs a warning each time. And nginx counts
-- from when it has last looked at the clock, so it may be early.
function loop.sleep(seconds)
  if type(seconds) ~= "number" then
    error("loop.sleep: seconds must be a number (got " .. type(seconds) .. ")", 2)
  end
  local co = loop.running()
  if not co then
    local _, err = loop.run_until()
    error("loop.sleep: " .. err, 2)
  elseif seconds > 0 then
    local due = core.now() + seconds
    repeat
      ngx.sleep(bounded(due - core.now()))
    until core.now() >= due
    return
  end
  local over = false
  next_turn[#next_turn + 1] = function()
    over = true
    loop.unpark(co)
  end
  core.port():ring()
  repeat
    loop.park()
  until over
end

function loop.run_until()
  return nil, "here nothing can wait (in nginx: init_by_lua, init_worker_by_lua, set_by_lua, log_by_lua, filters; "
    .. "below a comparison of table.sort): wait in a request's handler, in ngx.timer.at or in MQ.loop.spawn"
end

function loop.on_error(_, traceback)
  ngx.log(ngx.ERR, "MQ: error in a coroutine: ", traceback)
end

return loop
