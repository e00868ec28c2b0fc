--- Carries what the core reports to whom it concerns: messages to callbacks, answers to the coroutines that wait for
-- them, states to clients. One dispatch serves one Lua state in one process; a forked child gets another.
-- Must not know: protocols, options, what a message looks like, which host loop runs.
--
-- Messages are pulled by a *worker*: a coroutine that takes one event after another and calls the callback itself, with
-- nothing around the call, for a resume or a pcall a message costs more than all the rest. What may go wrong is
-- settled when it does:
--   * The callback parks: the worker is then stuck in it. When the next events come, the host finds it so, marks its
--     listener busy and lets another worker pull. A busy listener's messages queue up; the worker that is inside it
--     works them off once the callback has returned. So the messages of one listener stay in order, one at a time,
--     and the others do not wait for it.
--   * The callback raises: the worker dies of it, the host's guard reports it, another worker goes on.
--
-- Nothing here holds a client or a listener for good: `routes` and `clients` are weak, so a client that the program
-- has forgotten is garbage together with its callbacks. What does hold one: a coroutine that waits in one of its calls,
-- a callback that has not returned, a start(), and a live subscription while the loop runs or anybody's start() waits.

local closing = require "MQ.closing"
local core = require "MQ.core"
local host_loop = require "MQ.loop"
local plain = require("MQ.compat").plain
local precedence = require "MQ.precedence"

local BATCH = 1024        -- events that one worker pulls before every other coroutine has had a turn
local QUEUE_BATCH = 256   -- the same for a worker that works off a queue
local SPARES = 64         -- workers kept for reuse

local LOST = {}           -- in a queue: "the connection is lost", which a callback sees as nil

local function nothing() end

local function open(port)
  local loop = host_loop.current()
  local park, unpark, running = loop.park, loop.unpark, loop.running
  local guard, after, run_until, sleep = loop.guard, loop.after, loop.run_until, loop.sleep
  local idle_ends, pushes = loop.idle_ends, loop.pushes
  local pull = port.next

  local dispatch = { port = port }

  local weak_values = { __mode = "v" }
  local routes = setmetatable({}, weak_values)     -- key → listener
  local clients = setmetatable({}, weak_values)    -- id of a core client → client
  local waiting = {}                               -- ticket → record of who waits
  local outstanding = 0                            -- how many of those, and of those who wait for something else
  local serving = {}                               -- clients with a parked start() → how many
  local subscribed = {}                            -- clients with a live subscription, while the loop runs
  local last_ticket, last_key = 0, 0

  -- The worker that pulls: nil, or a coroutine that is "idle" (parked, nothing to pull), "called" (made ready) or
  -- "pulling". One that is found pulling by somebody else is stuck in the callback of `current`.
  local active, active_state, current
  local inside = {}         -- worker → the busy listener that it is in
  local spares, spare_count = {}, 0
  local state = {}                                 -- what the host may ask and tell
  local was_alive, was_open = false, false         -- what it has been told
  local runs = loop.run and 0 or 1                 -- loops and start()s that run; a host that we do not run always does

  ---------------------------------------------------------------------------------------------------- queues

  local function hold(client, change)
    local held = client.held + change
    client.held = held
    client.source:held(held)
  end

  local function enqueue(listener, item)
    local queue = listener.queue
    if not queue then
      queue = { first = 1, last = 0 }
      listener.queue = queue
    end
    queue.last = queue.last + 1
    queue[queue.last] = item
    hold(listener.client, 1)
  end

  local function dequeue(listener)
    local queue = listener.queue
    if not queue then
      return nil
    end
    local item = queue[queue.first]
    queue[queue.first] = nil
    if queue.first == queue.last then
      listener.queue = nil
    else
      queue.first = queue.first + 1
    end
    hold(listener.client, -1)
    return item
  end

  --- Withdraws what waits for a listener that has been taken off, and makes it deaf. It counts as dealt with (true), as
  -- refused (false), or is left unsettled (nil): then it comes again.
  function dispatch.silence(listener, verdict)
    listener.deliver, listener.callback = nothing, nothing
    local queue = listener.queue
    if queue then
      listener.queue = nil
      hold(listener.client, queue.first - queue.last - 1)
      for index = queue.first, queue.last do
        local id = queue[index][4]
        if id and id ~= 0 and verdict ~= nil then
          listener.settle(id, verdict)
        end
      end
    end
  end

  --------------------------------------------------------------------------------------------------- workers

  local died   -- forward: what the guard calls

  local work   -- forward: a worker's body

  local function get_worker()
    if spare_count > 0 then
      local co = spares[spare_count]
      spares[spare_count] = nil
      spare_count = spare_count - 1
      unpark(co)
      return co
    end
    return guard(died, work)
  end

  -- A busy listener gets a worker that works its queue off.
  local function attend(listener)
    listener.busy = true
    inside[get_worker()] = listener
  end

  local function give(listener, item)
    enqueue(listener, item)
    if not listener.busy then
      attend(listener)
    end
  end

  --- Calls a listener with nil: its connection is lost. In order with its messages.
  function dispatch.lost(listener)
    give(listener, LOST)
  end

  -- Several callbacks for one pattern: each has its queue and its worker, so none waits for another. A finalizer that
  -- runs meanwhile may take some off: those are left out.
  local function fan_out(fan, a, b, c, d, e)
    local set = fan.listeners
    local list, last = set.list, set.last
    local share
    if d and d ~= 0 then   -- it is to be acknowledged, once for all
      share = { left = 1, ok = true }
      fan.shares[d] = share
    end
    for index = 1, last do
      local listener = list[index]
      if listener and listener.deliver ~= nothing then
        if share then
          share.left = share.left + 1
        end
        give(listener, { a, b, c, d, e })
      end
    end
    if share then
      fan.settle(d, true)
    end
  end

  local function work_off(listener)
    local count = 0
    while listener.queue do
      local item = dequeue(listener)
      if item == LOST then
        listener.callback(nil)
      else
        listener.deliver(item[1], item[2], item[3], item[4], item[5])
      end
      count = count + 1
      if count % QUEUE_BATCH == 0 then
        sleep(0)
      end
    end
    listener.busy = false
  end

  -- Wakes whoever waits for a record, once: a second unpark would end some later wait of that coroutine early.
  local function rouse(record)
    local co = record.co
    if co then
      record.co = nil
      unpark(co)
    end
  end

  local function answer(record, a, b, c, d)
    record.done = true
    record[1], record[2], record[3], record[4] = a, b, c, d
    rouse(record)
  end

  -- Tells the host that its answers are others now.
  local function reconsider()
    local changed = state.changed
    if changed then
      local alive, is_open = state.alive(), state.open()
      if alive ~= was_alive or is_open ~= was_open then
        was_alive, was_open = alive, is_open
        changed()
      end
    end
  end

  local function expect_one()
    outstanding = outstanding + 1
    if outstanding == 1 then
      reconsider()
    end
  end

  local function forget_one()
    outstanding = outstanding - 1
    if outstanding == 0 then
      reconsider()
    end
  end

  local function control(form, id, a, b, c, d)
    if form == -2 then
      local client = clients[id]
      if client then
        client.handle(client, id, a, b, c, d)
      end
      return
    end
    local record = waiting[id]
    if record then
      waiting[id] = nil
      forget_one()
      if form == 0 then
        answer(record, true, a)
      else
        answer(record, nil, a, b, c)
      end
      if record.settle then
        record.settle(record)
      end
    end
  end

  -- The hot path. Every message of every subscription comes through this loop. True: there may be more.
  local function drain(me)
    for _ = 1, BATCH do
      local key, a, b, c, d, e = pull()
      if not key then
        return
      elseif key > 0 then
        local listener = routes[key]
        if listener then
          if not listener.busy then
            current = listener
            listener.deliver(a, b, c, d, e)
            if active ~= me then
              return   -- it parked, and another worker pulls now
            end
          elseif listener.listeners then
            fan_out(listener, a, b, c, d, e)
          else
            enqueue(listener, { a, b, c, d, e })
          end
        end
      else
        control(key, a, b, c, d, e)
      end
    end
    return true
  end

  if jit then
    -- A compiled trace keeps the objects that it is specialised to, here callbacks and so their clients, from being
    -- collected. Nothing is lost: `pull` is a C function, which ends a trace.
    jit.off(drain)
  end

  local function attend_to(me)
    local more
    if active == me then
      active_state = "pulling"
      more = drain(me)
    end
    local listener = inside[me]
    if listener then
      work_off(listener)
      inside[me] = nil
    end
    return more
  end

  -- What a worker touched is on the stack of attend_to, which has returned when the worker parks: the stack of a parked
  -- worker would else keep a forgotten client alive.
  function work()
    local me = running()
    while true do
      local more = attend_to(me)
      if active == me then
        current = nil
        if pushes then
          port:push()
        end
        if more and loop.run then
          -- The own loop does not look at the port while it ends: the worker asks for its next turn itself. Another
          -- host finds the descriptor readable still, after everything else has had its turn, too.
          active_state = "called"
          unpark(me)
        elseif idle_ends then
          active, active_state = nil, nil
          return
        else
          active_state = "idle"
        end
        repeat
          park()
        until active_state == "called" or active ~= me
      elseif spare_count < SPARES and not idle_ends then
        spare_count = spare_count + 1
        spares[spare_count] = me
        repeat
          park()
        until active == me or inside[me]
      else
        return
      end
    end
  end

  local function report(client, traceback)
    local on_error = client and client.on_error
    if on_error then
      guard(function(_, _, again)
        io.stderr:write("MQ: error in on_error: ", again, "\nwhich was to be told: ", traceback, "\n")
      end, on_error, client, traceback)
    else
      io.stderr:write("MQ: error in a callback: ", traceback, "\n")
    end
  end

  function died(co, _, traceback)
    local listener = inside[co]
    inside[co] = nil
    if active == co then
      listener = current
      active, active_state, current = nil, nil, nil
    end
    if listener then
      local id = listener.unsettled
      if id then
        listener.unsettled = false
        listener.settle(id, false)
      end
      if listener.queue then
        attend(listener)
      else
        listener.busy = false
      end
    end
    return traceback and report(listener and listener.client, traceback)
  end
  loop.interrupted = died   -- a program that is told to end still hears of what it closes

  -- The host calls this when there is something to pull. `anew`: a worker that has been made ready will not run now.
  local function wake(anew)
    if active_state == "idle" and not anew then
      active_state = "called"
      unpark(active)
    elseif active_state ~= "called" or anew then
      if current then
        current.busy = true
        inside[active] = current
        current = nil
      end
      active = get_worker()
      active_state = "called"
    end
  end

  --- Runs a callback that is no subscription's (on_connect …) in a coroutine of its own.
  function dispatch.call(client, fn, ...)
    guard(function(_, _, traceback)
      report(client, traceback)
    end, fn, client, ...)
  end

  --------------------------------------------------------------------------------------------------- waiting

  --- Waits until `record.done`, at most `seconds` where given; true where it is done. Whoever completes it uses
  -- dispatch.complete. Parks the coroutine; runs the loop where nothing can park.
  function dispatch.await(record, seconds)
    if record.done then
      return true
    end
    local co = running()
    local stop
    if seconds then
      stop = after(seconds, function()
        record.late = true
        rouse(record)
      end)
    end
    if co then
      record.co = co
      repeat
        park()
      until record.done or record.late
    else
      local _, err = run_until(function()
        return record.done or record.late
      end, seconds)
      record.stuck = err
    end
    if stop then
      stop()
    end
    return record.done == true
  end
  local await = dispatch.await

  --- Ends the wait for `record` with these results.
  dispatch.complete = answer

  --- A record that is waited for without a ticket: the loop does not end before forget(record).
  function dispatch.expect()
    expect_one()
    return {}
  end
  dispatch.forget = forget_one

  function dispatch.ticket()
    last_ticket = last_ticket + 1
    return last_ticket
  end

  function dispatch.key()
    last_key = last_key + 1
    return last_key
  end

  --- Who waits for the ticket `old` waits for `ticket` from now on.
  function dispatch.move_ticket(old, ticket)
    waiting[ticket], waiting[old] = waiting[old], nil
  end

  --- The record of an accepted ticket. It has to be asked for before anything else waits, or the answer is missed.
  -- settle(record) is called when the answer is there: what others wait for must not depend on when the coroutine that
  -- asked goes on, for it may be a loop below another loop. It neither parks nor raises.
  function dispatch.pending(ticket, settle)
    local record = { settle = settle }
    waiting[ticket] = record
    expect_one()
    return record
  end

  --- The command of that ticket was not accepted: no answer will come.
  function dispatch.withdraw(ticket)
    if waiting[ticket] then
      waiting[ticket] = nil
      forget_one()
    end
  end

  --- Waits for a ticket's record, at most `seconds` where given: true, detail or nil, err, code, detail.
  function dispatch.answer(record, seconds)
    if await(record, seconds) then
      if record[1] then
        return true, record[2]
      elseif record[4] == nil then
        return nil, record[2], record[3]
      end
      return nil, record[2], record[3], record[4]
    elseif record.late then
      return nil, ("no answer within %s s"):format(plain(seconds)), "timeout"
    end
    return nil, record.stuck or "nothing is left that could answer: the process has been forked",
      record.stuck and "invalid" or "closed"
  end

  precedence.attach(dispatch)

  --------------------------------------------------------------------------------------------------- clients

  --- Enters a client under the id of one of its core clients. client.handle(client, id, state, …) hears of its states.
  function dispatch.enter(id, client)
    clients[id] = client
    reconsider()
  end

  function dispatch.leave(id)
    clients[id] = nil
    reconsider()
  end

  --- A client has failed: the host need not wait for it any more.
  dispatch.failed = reconsider

  --- Sets what gets the messages of a key: a listener, { listeners = …, busy = true, … } for several, or nil.
  function dispatch.route(key, listener)
    routes[key] = listener
  end

  --- Every client that is still there, for whoever ends the program.
  function dispatch.clients()
    local list, seen = {}, {}
    for _, client in pairs(clients) do
      if not seen[client] then
        seen[client] = true
        list[#list + 1] = client
      end
    end
    return list
  end

  --- Told when a client gets its first subscription and when it loses its last.
  function dispatch.subscribed(client, live)
    client.live = live
    if runs > 0 then
      subscribed[client] = live or nil
    end
    reconsider()
  end

  -- While the loop runs, a client with a subscription is in use, whether or not the program kept a reference.
  local function loop_state(begins)
    runs = runs + (begins and 1 or -1)
    if begins and runs == 1 then
      for _, client in pairs(clients) do
        if client.live then
          subscribed[client] = true
        end
      end
    elseif runs == 0 then
      subscribed = {}
    end
  end

  --- A client's start() begins (true) or ends to wait.
  function dispatch.serve(client, begins)
    local count = (serving[client] or 0) + (begins and 1 or -1)
    serving[client] = count > 0 and count or nil
    loop_state(begins)
    reconsider()
  end

  -- A forked child inherits the parent's loop, and must not wait for the parent's answers.
  function state.alive()
    return core.port() == port
      and (outstanding > 0 or next(subscribed) ~= nil or next(serving) ~= nil)
  end

  -- The same for a host whose loop does more than MQ's work: as long as a client can have something to tell.
  function state.open()
    if core.port() == port then
      for _, client in pairs(clients) do
        if not client.failure then
          return true
        end
      end
    end
    return outstanding > 0
  end

  state.close = closing.of(dispatch, loop)
  state.running = loop_state

  dispatch.stop = loop.watch(port:fd(), wake, state)
  return dispatch
end

local dispatch = {}
local instance

--- The dispatch of this process.
function dispatch.here()
  local port = core.port()
  if instance then
    if instance.port == port then
      return instance
    end
    instance.stop()
  end
  instance = open(port)
  return instance
end

--- The same, or nil where nothing of MQ has been used yet.
function dispatch.opened()
  return instance and instance.port == core.port() and instance or nil
end

return dispatch
