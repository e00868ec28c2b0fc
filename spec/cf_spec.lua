-- The cf modules for hosts that are not cf: cf, class, json, logging. No broker, and no wait beyond some milliseconds.

local loop = require("MQ.loop").current()

local function run(fn)
  local failure
  local co = loop.guard(function(_, _, traceback) failure = traceback end, fn)
  loop.run_until(function() return coroutine.status(co) == "dead" end)
  assert.is_nil(failure)
end

describe("the searcher", function()
  local searcher = require("MQ.cf").searcher
  local searchers = package.searchers or package.loaders

  it("is asked last, and knows its own names only", function()
    assert.equal(searcher, searchers[#searchers])
    for _, name in ipairs { "cf", "class", "httpd", "json", "logging" } do
      assert.equal(require("MQ.cf." .. name), searcher(name)(name))
    end
    assert.is_nil(searcher("tcp"))
    assert.is_nil(searcher("MQ"))
  end)

  it("leaves a module of the program its name", function()
    package.preload.json = function() return "the program's own" end
    assert.equal("the program's own", require "json")
    package.preload.json, package.loaded.json = nil, nil
  end)
end)

describe("cf", function()
  local cf = require "MQ.cf.cf"

  it("fork starts later, in order, with arguments, and returns the coroutine", function()
    local log = {}
    run(function()
      local co = cf.fork(function(a, b) log[#log + 1] = a .. b .. tostring(coroutine.running()) end, "x", "y")
      assert.equal("thread", type(co))
      cf.fork(function() log[#log + 1] = "second" end)
      assert.same({}, log)
      cf.yield()
      assert.same({ "xy" .. tostring(co), "second" }, log)
    end)
  end)

  it("wait parks until wakeup, which hands values over", function()
    run(function()
      local me = cf.self()
      cf.fork(function() cf.wakeup(me, 1, nil, 3) end)
      local a, b, c = cf.wait()
      assert.same({ 1, nil, 3 }, { a, b, c })
    end)
  end)

  it("wakeup refuses itself, the dead, and what is no coroutine", function()
    run(function()
      local dead = cf.fork(function() end)
      cf.yield()
      cf.yield()
      for _, wrong in ipairs { cf.self(), dead, "x" } do
        local ok, err = pcall(function() cf.wakeup(wrong) end)
        assert.is_false(ok)
        assert.matches("cf_spec.lua:%d+: cf.wakeup: ", err)
      end
    end)
  end)

  it("sleep takes seconds, 0 and nothing give a turn", function()
    run(function()
      local before, turns = loop.now(), 0
      cf.fork(function() turns = turns + 1 end)
      cf.sleep(0)
      cf.sleep()
      assert.equal(1, turns)
      cf.sleep(0.01)
      assert.is_true(loop.now() - before >= 0.01)
    end)
  end)

  it("at and timeout return timers, and nil for what is no time", function()
    run(function()
      local ticks, once = 0, 0
      local timer = cf.at(0.002, function() ticks = ticks + 1 end)
      cf.timeout(0.001, function() once = once + 1 end)
      local stopped = cf.timeout(0.001, function() once = once + 10 end)
      assert.is_true(stopped:stop())
      while ticks < 3 do
        cf.sleep(0.001)
      end
      timer:stop()
      local seen = ticks
      cf.sleep(0.005)
      assert.same({ seen, 1 }, { ticks, once })
      assert.is_nil(cf.at(0, print))
      assert.is_nil(cf.timeout(-1, print))
      assert.is_nil(cf.at(1))
    end)
  end)

  it("a timer that is stopped before its function has begun does not call it", function()
    run(function()
      local calls, timers = 0, {}
      local function stop_all()
        for _, timer in ipairs(timers) do
          timer:stop()
        end
        calls = 0
      end
      for _, seconds in ipairs { 0.001, 0.003 } do
        timers[#timers + 1] = cf.timeout(seconds, function() calls = calls + 1 end)
        timers[#timers + 1] = cf.at(seconds, function() calls = calls + 1 end)
      end
      -- once this is over, all of them are due in one turn, and the coroutine that stops them is between them
      cf.fork(function()
        local from = loop.now()
        while loop.now() - from < 0.01 do end   -- luacheck: ignore 542
      end)
      cf.sleep(0.002)
      stop_all()
      cf.sleep(0.01)
      assert.equal(0, calls)
    end)
  end)

  it("join waits for all, also for one that raises", function()
    local saved, reports = loop.on_error, 0
    loop.on_error = function() reports = reports + 1 end
    run(function()
      local log = {}
      cf.join(function() cf.sleep(0.004) log[#log + 1] = "slow" end, function() log[#log + 1] = "fast" end,
        function() error("x") end)
      assert.same({ "fast", "slow" }, log)
      cf.join()
    end)
    loop.on_error = saved
    assert.equal(1, reports)
  end)

  it("run runs a file", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write("local list, value = ... list[1] = value")
    file:close()
    run(function()
      local list = {}
      cf.run(path, list, "ran")
      cf.yield()
      assert.same({ "ran" }, list)
      assert.is_false(pcall(cf.run, "/nowhere.lua"))
    end)
    os.remove(path)
  end)
end)

describe("class", function()
  local class = require "MQ.cf.class"

  it("makes objects through ctor", function()
    local Point = class("Point")
    function Point:ctor(x, y) self.x, self.y = x, y end
    function Point:sum() return self.x + self.y end
    assert.equal(3, Point:new(1, 2):sum())
    assert.equal(7, Point(3, 4):sum())
    assert.equal("class: Point", tostring(Point))
    assert.equal("table", type(class("Bare"):new()))
  end)

  it("inherits methods, ctor and metamethods; the child's win", function()
    local A = class("A")
    function A:ctor(name) self.name = name end
    function A:hello() return "A" .. self.name end
    function A:bye() return "bye " .. self.name end
    A.__tostring = function(self) return "<" .. self.name .. ">" end
    local B = class("B", A)
    function B:hello() return "B" .. A.hello(self) end
    local b = B:new("x")
    assert.same({ "BAx", "bye x", "<x>" }, { b:hello(), b:bye(), tostring(b) })
    assert.equal("Ay", A:new("y"):hello())
    assert.same({ "A", "B" }, { A.__name, B.__name })
  end)

  it("raises at the caller's line", function()
    local A = class("A")
    for _, fn in ipairs { function() A.new({}) end, function() class("B", {}) end } do
      local ok, err = pcall(fn)
      assert.is_false(ok)
      assert.matches("cf_spec.lua:%d+: ", err)
    end
  end)
end)

describe("json", function()
  local json = require "MQ.cf.json"

  it("encodes and decodes", function()
    local text = json.encode { code = 200, data = { 1, 2.5, "x", true, json.null } }
    local back = json.decode(text)
    assert.same({ 200, 1, 2.5, "x", true }, { back.code, back.data[1], back.data[2], back.data[3], back.data[4] })
    assert.equal(json.null, back.data[5])
    assert.equal("{}", json.encode {})
    assert.equal("[]", json.encode(json.empty_array))
    assert.equal("[]", json.encode(json.array {}))
  end)

  it("returns nil and an error", function()
    for _, wrong in ipairs { "{", "", 5, {} } do
      local value, err = json.decode(wrong)
      assert.is_nil(value)
      assert.is_string(err)
    end
    local text, err = json.encode { print }
    assert.is_nil(text)
    assert.is_string(tostring(err))
  end)
end)
