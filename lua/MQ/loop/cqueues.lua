--- MQ in a program that cqueues' controllers run: MQ.use "cqueues".
-- Must not know: clients, messages, protocols.
--
-- MQ's coroutines live in the controller that is running when they are made. Where none is, as in the main chunk, they
-- live in one of MQ's own, loop.controller, which a waiting main chunk steps; a controller of the program takes it over
-- with the first call that waits inside of it.
--
-- A controller's loop ends when it is empty: so MQ's coroutines end when they have nothing to do.

local compat = require "MQ.compat"
local condition = require "cqueues.condition"
local core = require "MQ.core"
local cqueues = require "cqueues"

local pack, unpack = compat.pack, compat.unpack
local create, resume, status, yield = coroutine.create, coroutine.resume, coroutine.status, coroutine.yield

local loop = { name = "cqueues", idle_ends = true, pushes = true }

--- Runs what is not in a controller of the program.
loop.controller = cqueues.new()

local weak = { __mode = "k" }
local conditions = setmetatable({}, weak)   -- coroutine → what wakes it
local guarded = setmetatable({}, weak)      -- coroutines inside another that passes on what they yield
local served = setmetatable({}, weak)       -- controllers with a watcher
local adopted = setmetatable({}, weak)      -- controllers that run loop.controller

local function nothing() end
local recheck = nothing                     -- lets the watchers look whether they are needed, and for what
local push_due = false
local attend = nothing                      -- sees to it that a controller has a watcher
local alone = false                         -- nothing runs but loop.controller: the main chunk waits

local function start(co)
  (cqueues.running() or loop.controller):attach(co)
  return co
end

function loop.spawn(fn, ...)
  local arguments = pack(...)
  return start(create(function()
    return fn(unpack(arguments, 1, arguments.n))
  end))
end

if _VERSION == "Lua 5.1" and not rawget(_G, "jit") then
  -- No yield crosses pcall: fn gets a coroutine inside the one that the controller knows.
  function loop.guard(died, fn, ...)
    local co = create(fn)
    guarded[co] = true
    local function pass_on(ok, ...)
      if not ok then
        local err = ...
        died(co, err, debug.traceback(co, tostring(err)))
      elseif status(co) ~= "dead" then
        return pass_on(resume(co, yield(...)))
      end
    end
    local arguments = pack(...)
    start(create(function()
      return pass_on(resume(co, unpack(arguments, 1, arguments.n)))
    end))
    return co
  end
end

-- What MQ has in its own controller goes on when a controller of the program runs.
local function adopt(cq)
  local own = loop.controller
  if cq ~= own and not adopted[cq] and not own:empty() then
    adopted[cq] = true
    recheck()
    cq:wrap(function()
      while not own:empty() do
        local ok, err = own:step()
        if not ok then
          loop.on_error(nil, tostring(err), err)
        end
      end
      adopted[cq] = nil
    end)
  end
end

local function running()
  local cq, direct = cqueues.running()
  local co = cq and compat.yieldable()
  if co and (direct or guarded[co]) then
    return co
  end
end
loop.running = running

require("MQ.parking").attach(loop, running, function(co, seconds)
  local cq = cqueues.running()
  attend(cq)
  adopt(cq)
  local wakes = conditions[co]
  if not wakes then
    wakes = condition.new()
    conditions[co] = wakes
  end
  if seconds then
    cqueues.poll(wakes, seconds)
  else
    cqueues.poll(wakes)
  end
end, function(co)
  conditions[co]:signal()
end, function()
  if not push_due then
    push_due = true
    recheck()
  end
end)

function loop.watch(fd, fn, state)
  local stopped = false
  local source, changed = { pollfd = fd, events = "r" }, condition.new()
  local called_in                           -- the controller of the worker that was woken last

  local function needed(cq)
    return not stopped and state.open() and (cq ~= loop.controller or alone or next(adopted) == nil)
  end

  local function serve(cq)
    while needed(cq) do
      if push_due then
        push_due = false
        core.port():push()
      end
      for _, ready in ipairs { cqueues.poll(source, changed) } do
        if ready == source then
          fn(alone and called_in ~= cq)
          called_in = cq
        end
      end
    end
    served[cq] = nil
    cq:cancel(fd)
  end

  function attend(cq)
    if not served[cq] and needed(cq) then
      served[cq] = true
      cq:wrap(serve, cq)
    end
  end

  function recheck()
    changed:signal()
  end

  function state.changed()
    recheck()
    attend(cqueues.running() or loop.controller)
  end

  return function()
    stopped = true
    recheck()
  end
end

-- In the main chunk: steps MQ's own controller, and nothing else.
function loop.run_until(done, seconds)
  if cqueues.running() then
    return nil, "a coroutine of cqueues cannot wait below a function that a yield cannot cross (a comparison of "
      .. "table.sort; on Lua 5.1 pcall), nor inside another one: wait outside of it"
  end
  local own = loop.controller
  local deadline = seconds and cqueues.monotime() + seconds
  alone = true
  attend(own)
  while not done() and not (own:empty() and not deadline) do
    local ok, err = own:step(deadline and math.max(deadline - cqueues.monotime(), 0))
    if not ok then
      loop.on_error(nil, tostring(err), err)
    end
  end
  alone = false
  return done()
end

return loop
