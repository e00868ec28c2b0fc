-- MQ.loop.own on a clock that only moves when the loop waits: nothing here takes time.

local own = require("MQ.loop").current()

-- A loop, its log, and a "port" that has something to pull while feed is not empty.
local function virtual()
  local world = { time = 0, feed = {}, waits = {}, log = {} }
  world.loop = own.new {
    now = function() return world.time end,
    wait = function(seconds)
      world.waits[#world.waits + 1] = seconds or "forever"
      assert(#world.waits < 10000, "the loop spins")
      if #world.feed > 0 then
        return true
      end
      assert(seconds, "the loop would wait for ever")
      world.time = world.time + seconds
      return false
    end,
  }
  world.loop.on_error = function(_, traceback)
    world.log[#world.log + 1] = "error: " .. traceback:match("[^\n]*")
  end
  function world.say(text)
    world.log[#world.log + 1] = ("%g %s"):format(world.time, text)
  end
  return world, world.loop, world.say
end

local function pull_all(world, loop)
  return loop.watch(0, function()
    while #world.feed > 0 do
      table.remove(world.feed, 1)()
    end
  end, { alive = function() return world.alive end, running = function(is) world.running = is end })
end

describe("the own loop", function()
  it("runs what is spawned in order, later, with its arguments", function()
    local world, loop, say = virtual()
    loop.spawn(function(a, b, c) say(("%s %s %s"):format(tostring(a), tostring(b), tostring(c))) end, 1, nil, 3)
    loop.spawn(function() say "second" loop.spawn(say, "third") say "still second" end)
    assert.same({}, world.log)
    loop.run()
    assert.same({ "0 1 nil 3", "0 second", "0 still second", "0 third" }, world.log)
  end)

  it("parks until unpark, which hands values over", function()
    local world, loop, say = virtual()
    local waiter = loop.spawn(function() say(table.concat({ loop.park() }, " ")) end)
    loop.spawn(function() loop.unpark(waiter, "a", "b") say "woke it" end)
    loop.run()
    assert.same({ "0 woke it", "0 a b" }, world.log)
  end)

  it("sleeps; 0 gives the others a turn", function()
    local world, loop, say = virtual()
    loop.spawn(function() loop.sleep(2) say "two" end)
    loop.spawn(function() loop.sleep(1) say "one" end)
    loop.spawn(function() say "a" loop.sleep(0) say "c" end)
    loop.spawn(function() say "b" end)
    loop.run()
    assert.same({ "0 a", "0 b", "0 c", "1 one", "2 two" }, world.log)
  end)

  it("a sleeper that somebody wakes sleeps on", function()
    local world, loop, say = virtual()
    local sleeper = loop.spawn(function() loop.sleep(1) say "woke" end)
    loop.spawn(function() loop.unpark(sleeper) end)
    loop.run()
    assert.same({ "1 woke" }, world.log)
  end)

  it("sleeps in a main chunk, and below a function that cannot yield", function()
    local world, loop, say = virtual()
    loop.spawn(function() loop.sleep(1) say "other" end)
    loop.sleep(3)
    say "main"
    loop.spawn(function()
      local list = { 2, 1 }
      table.sort(list, function(a, b) loop.sleep(1) return a < b end)
      say(table.concat(list))
    end)
    loop.run()
    assert.equal("1 other", world.log[1])
    assert.equal("3 main", world.log[2])
    assert.matches("12$", world.log[3])
  end)

  it("sleeps below pcall on every Lua", function()
    local world, loop, say = virtual()
    for index = 1, 3 do
      loop.spawn(function()
        say(tostring(pcall(loop.sleep, index)))
      end)
    end
    loop.run()
    assert.equal(3, #world.log)
    assert.equal(3, world.time)
  end)

  it("sleeps in a finalizer, and leaves the program's hook in place", function()
    local world, loop, say = virtual()
    local newproxy = rawget(_G, "newproxy")   -- 5.1 and LuaJIT know finalizers of userdata only
    local function hook() end
    loop.spawn(function()
      local finalized = false
      local function finalize()
        loop.sleep(1)
        say "finalized"
        finalized = true
      end
      if newproxy then
        getmetatable(newproxy(true)).__gc = finalize
      else
        setmetatable({}, { __gc = finalize })
      end
      debug.sethook(hook, "", 1000)
      local littered = 0
      repeat
        world.litter = { {} }
        littered = littered + 1
      until finalized or littered > 1e7
      say "goes on"
      loop.sleep(1)
      local left, _, count = debug.gethook()
      debug.sethook()
      assert.same({ hook, 1000 }, { left, count })
      say "ends"
    end)
    loop.run()
    assert.same({ "1 finalized", "1 goes on", "2 ends" }, world.log)
  end)

  it("timeout calls once, at again and again, each in a coroutine of its own", function()
    local world, loop, say = virtual()
    loop.timeout(1.5, function() say "once" loop.sleep(1) say "once, later" end)
    local timer
    local count = 0
    timer = loop.at(1, function()
      count = count + 1
      say("tick " .. count)
      if count == 3 then
        assert.is_true(timer:stop())
        assert.is_true(timer:stop())
      end
    end)
    loop.run()
    assert.same({ "1 tick 1", "1.5 once", "2 tick 2", "2.5 once, later", "3 tick 3" }, world.log)
  end)

  it("a repeating timer that is late leaves out what it missed", function()
    local world, loop, say = virtual()
    local count, timer = 0, nil
    timer = loop.at(1, function()
      count = count + 1
      say "tick"
      if count == 1 then
        world.time = 5.5
      elseif count == 3 then
        timer:stop()
      end
    end)
    loop.run()
    assert.same({ "1 tick", "5.5 tick", "6.5 tick" }, world.log)
  end)

  it("timers of the same time keep their order; a stopped one is not called", function()
    local world, loop, say = virtual()
    local timers = {}
    for index = 1, 50 do
      timers[index] = loop.timeout(index % 5, function() say(index) end)
    end
    for index = 1, 50, 2 do
      timers[index]:stop()
    end
    loop.run()
    local expected = {}
    for time = 0, 4 do
      for index = 2, 50, 2 do
        if index % 5 == time then
          expected[#expected + 1] = ("%d %d"):format(time, index)
        end
      end
    end
    assert.same(expected, world.log)
  end)

  it("after calls from the loop, unless stopped", function()
    local world, loop, say = virtual()
    loop.after(1, function() say "called" end)
    local stop = loop.after(2, function() say "not called" end)
    stop()
    stop()
    loop.run()
    assert.same({ "1 called" }, world.log)
  end)

  it("reports a coroutine that dies, and goes on", function()
    local world, loop, say = virtual()
    loop.spawn(function() error("boom") end)
    loop.spawn(function() error({}) end)
    loop.spawn(function() loop.sleep(1) say "alive" end)
    loop.guard(function(co, err, traceback)
      assert.equal("thread", type(co))
      assert.equal("guarded", err.what)
      assert.matches("stack traceback", traceback)
      say "guard"
    end, function() loop.sleep(0.5) error({ what = "guarded" }) end)
    loop.run()
    assert.matches("^error: spec/loop_spec.lua:%d+: boom$", (world.log[1]:gsub("%.?/?[^ ]*spec/loop", "spec/loop")))
    assert.matches("^error: table", world.log[2])
    assert.same({ "0.5 guard", "1 alive" }, { world.log[3], world.log[4] })
  end)

  it("lets an interrupt through", function()
    local _, loop = virtual()
    loop.spawn(function() error("main.lua:1: interrupted!", 0) end)
    local ok, err = pcall(loop.run)
    assert.is_false(ok)
    assert.equal("main.lua:1: interrupted!", err)
    local ran = false
    loop.spawn(function() ran = true end)
    loop.run()   -- and can be used afterwards
    assert.is_true(ran)
  end)

  it("ends when nothing is left that could wake anything", function()
    local world, loop, say = virtual()
    loop.spawn(function() loop.park() say "never" end)
    loop.run()
    assert.same({}, world.log)
  end)

  it("calls watchers when there is something for them, and waits while they are alive", function()
    local world, loop, say = virtual()
    local stop = pull_all(world, loop)
    world.alive = true
    loop.timeout(1, function()
      world.feed[1] = function() say "pulled" world.alive = false end
    end)
    loop.run()
    assert.same({ "1 pulled" }, world.log)
    assert.is_false(world.running)
    stop()
    world.alive = true
    loop.run()
  end)

  it("does not block while a coroutine is ready, nor beyond the next timer", function()
    local world, loop = virtual()
    loop.spawn(function()
      loop.sleep(0)
      loop.sleep(0)
      loop.sleep(7)
    end)
    loop.run()
    assert.same({ 0, 0, 7 }, world.waits)
  end)

  it("run_until ends when it is so, or when it cannot become so", function()
    local world, loop = virtual()
    local count = 0
    loop.at(1, function() count = count + 1 end)
    assert.is_true(loop.run_until(function() return count == 3 end))
    assert.equal(3, world.time)
    local _, other = virtual()
    assert.is_false(other.run_until(function() return false end))
  end)

  it("runs inside itself", function()
    local world, loop, say = virtual()
    loop.spawn(function()
      local done = false
      loop.timeout(1, function() done = true end)
      loop.spawn(function() loop.sleep(0.5) say "inner" end)
      loop.run_until(function() return done end)
      say "outer"
    end)
    loop.run()
    assert.same({ "0.5 inner", "1 outer" }, world.log)
  end)

  it("refuses to run too deep inside itself", function()
    local _, loop = virtual()
    local deepest, err = 0, nil
    local function deeper()
      deepest = deepest + 1
      local ok, why = loop.run_until(function() deeper() return true end)
      err = err or why
      return ok
    end
    deeper()
    assert.is_true(deepest > 20)
    assert.matches("coroutines wait inside one another", err)
  end)

  it("serves a coroutine that the program made itself", function()
    local world, loop, say = virtual()
    loop.spawn(function()
      local generator = coroutine.wrap(function()
        loop.sleep(1)
        say "slept"
        coroutine.yield("a value of its own")
        say "resumed by its owner"
      end)
      generator()
      say "the owner goes on"
      loop.sleep(2)
      generator()
    end)
    loop.run()
    assert.same({ "0 the owner goes on", "1 slept", "2 resumed by its owner" }, world.log)
  end)

  it("keeps a task that waits, and lets go of one that has ended", function()
    local _, loop = virtual()
    local weak = setmetatable({}, { __mode = "v" })
    weak[1] = loop.spawn(function() loop.park() end)
    weak[2] = loop.spawn(function() end)
    loop.run()
    collectgarbage()
    collectgarbage()
    assert.equal("thread", type(weak[1]))
    assert.is_nil(weak[2])
  end)

  it("raises at the caller's line for a wrong call", function()
    local _, loop = virtual()
    local function where(fn)
      local ok, err = pcall(fn)
      assert.is_false(ok)
      assert.matches("loop_spec.lua:" .. debug.getinfo(fn, "S").linedefined .. ": loop%.", err)
    end
    where(function() loop.at(-1, print) end)
    where(function() loop.timeout("1", print) end)
    where(function() loop.timeout(1) end)
    where(function() loop.sleep("x") end)
  end)
end)

describe("MQ.use", function()
  local MQ = require "MQ"

  it("takes the host that serves already", function()
    assert.equal(own, MQ.use("own"))
    assert.equal(own, MQ.loop)
  end)

  it("raises at the caller's line for one that there is not", function()
    local ok, err = pcall(function() MQ.use("nodejs") end)
    assert.is_false(ok)
    assert.matches('loop_spec.lua:%d+: MQ.use: no host loop is called "nodejs"', err)
  end)
end)
