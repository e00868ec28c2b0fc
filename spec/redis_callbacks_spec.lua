-- MQ.redis: in which order, how many at a time and in what state callbacks run; what they may do; what happens when
-- they raise, and when the connection goes.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"

local client, inbox, expect = tools.client, tools.inbox, tools.expect
local eventually = helper.eventually

-- wait() parks until open() was called.
local function gate()
  local open = false
  return {
    wait = function()
      local deadline = helper.sys.now() + 10
      while not open and helper.sys.now() < deadline do
        tools.sleep(0.002)
      end
      assert(open, "nobody opened the gate")
    end,
    open = function() open = true end,
  }
end

describe("MQ.redis callbacks:", function()
  local server

  setup(function() server = helper.redis() end)
  after_each(tools.close_all)

  it("one subscription's messages come one at a time and in order, however long each takes", function()
    local mq, got, inside, most = client(server), {}, 0, 0
    assert(mq:on("/slow", function(message)
      inside = inside + 1
      most = math.max(most, inside)
      local n = tonumber(message.payload)
      tools.sleep(n % 5 == 0 and 0.004 or n % 3 == 0 and 0 or 0.001)
      got[#got + 1] = n
      inside = inside - 1
    end))
    for i = 1, 60 do
      mq:post("/slow", tostring(i))
    end
    expect(got, 60)
    assert.equal(1, most)
    for i = 1, 60 do
      assert.equal(i, got[i])
    end
  end)

  it("order holds where callbacks sometimes yield and messages keep coming", function()
    local mq, other, got = client(server), client(server), {}
    assert(mq:on("/mixed", function(message)
      local n = tonumber(message.payload)
      if n % 7 == 0 then
        tools.sleep(0)
      end
      got[#got + 1] = n
    end))
    for i = 1, 3000 do
      other:post("/mixed", tostring(i))
      if i % 100 == 0 then
        assert(other:emit("/none", ""))
      end
    end
    expect(got, 3000)
    for i = 1, 3000 do
      assert.equal(i, got[i])
    end
  end)

  it("different subscriptions run concurrently", function()
    local mq, door, reached = client(server), gate(), {}
    assert(mq:on("/blocked", function()
      reached.blocked = true
      door.wait()
      reached.through = true
    end))
    assert(mq:on("/free", function()
      reached.free = true
      door.open()
    end))
    mq:post("/blocked", "")
    eventually(function() return reached.blocked end)
    assert.is_nil(reached.free)
    mq:post("/free", "")
    eventually(function() return reached.through end)
    assert.is_true(reached.free)
  end)

  it("several callbacks of one pattern do not wait for each other", function()
    local mq, door, slow = client(server), gate(), {}
    assert(mq:on("/fan", function(message)
      door.wait()
      slow[#slow + 1] = message.payload
    end))
    local quick = inbox(mq, "/fan")
    for i = 1, 5 do
      mq:post("/fan", tostring(i))
    end
    expect(quick, 5)
    assert.equal(0, #slow)
    door.open()
    expect(slow, 5)
    assert.same({ "1", "2", "3", "4", "5" }, slow)
  end)

  it("each callback of a pattern gets a message of its own", function()
    local mq, seen = client(server), {}
    for i = 1, 2 do
      assert(mq:on("/own", function(message)
        seen[i] = message.payload
        message.payload = "changed"
      end))
    end
    mq:emit("/own", "x")
    eventually(function() return seen[1] and seen[2] end)
    assert.same({ "x", "x" }, seen)
  end)

  it("may emit, post, flush, subscribe and unsubscribe on their own client", function()
    local mq, results, inner = client(server), {}, {}
    assert(mq:on("/self", function(message)
      results[#results + 1] = message.payload
      if message.payload == "first" then
        assert(mq:on("/inner", function(each) inner[#inner + 1] = each.payload end))
        results[#results + 1] = select(2, mq:emit("/inner", "emitted"))
        mq:post("/inner", "posted")
        results[#results + 1] = mq:flush(5)
        results[#results + 1] = mq:off("/inner")
        results[#results + 1] = select(2, mq:emit("/inner", "too late"))
      end
    end))
    mq:post("/self", "first")
    mq:post("/self", "second")
    expect(results, 6)
    assert.same({ "first", 1, true, true, 0, "second" }, results)
    assert.same({ "emitted", "posted" }, inner)
  end)

  it("may take off their own subscription: what was queued for it does not come any more", function()
    local mq, got = client(server), {}
    assert(mq:on("/once", function(message)
      tools.sleep(0.02)   -- the others are here by then
      got[#got + 1] = message.payload
      got.off = mq:off("/once")
    end))
    for i = 1, 5 do
      mq:post("/once", tostring(i))
    end
    eventually(function() return got.off end)
    assert.same({ true, 0 }, { mq:emit("/once", "6") })
    assert.same({ "1", off = true }, got)
  end)

  it("may close their own client, in the middle of a burst", function()
    local mq, got, closed = client(server), {}, nil
    assert(mq:on("/end", function(message)
      got[#got + 1] = message and message.payload or "nil"
      if message.payload == "3" then
        closed = { mq:close() }
      end
    end))
    for i = 1, 10 do
      mq:post("/end", tostring(i))
    end
    eventually(function() return closed end)
    assert.same({ true }, closed)
    assert.same({ "1", "2", "3" }, got)
    eventually(function() return server:client_count() == 0 end)
  end)

  it("may make, use and close another client", function()
    local mq, other_count = client(server), nil
    local got = inbox(mq, "/made")
    assert(mq:on("/make", function()
      local other = client(server)
      other_count = select(2, other:emit("/made", "by another"))
      other:close()
    end))
    mq:post("/make", "")
    eventually(function() return other_count end)
    expect(got, 1)
    assert.equal(1, other_count)
  end)

  it("may wait below pcall, in a coroutine of their own, and below a C function", function()
    local mq, results = client(server), {}
    assert(mq:on("/deep", function()
      results[#results + 1] = select(3, pcall(mq.emit, mq, "/nobody", "a"))
      results[#results + 1] = select(2, coroutine.wrap(function()
        return mq:emit("/nobody", "b")
      end)()) or "yielded"
      local list = { 3, 1, 2 }
      table.sort(list, function(a, b)
        results.sorting = results.sorting or select(2, mq:emit("/nobody", "c"))
        return a < b
      end)
      results[#results + 1] = table.concat(list)
    end))
    mq:post("/deep", "")
    eventually(function() return #results >= 3 end)
    assert.same({ 0, results[2], "123", sorting = 0 }, results)
    assert.is_true(mq:emit("/nobody", "d"))
  end)

  describe("that raise", function()
    it("are reported with a traceback to on_error, and live on", function()
      local reports, got = {}, {}
      local mq = client(server, { on_error = function(...) reports[#reports + 1] = { ... } end })
      local function culprit(message)
        if message.payload == "bad" then
          error("oh no")
        end
        got[#got + 1] = message.payload
      end
      assert(mq:on("/raise", function(message) culprit(message) end))
      for _, payload in ipairs { "1", "bad", "2", "bad", "3" } do
        mq:post("/raise", payload)
      end
      expect(got, 3)
      assert.same({ "1", "2", "3" }, got)
      assert.equal(2, #reports)
      assert.equal(mq, reports[1][1])
      assert.matches("redis_callbacks_spec.lua:%d+: oh no", reports[1][2])
      assert.matches("stack traceback:.*culprit", reports[1][2])
    end)

    it("after they have yielded, too: what came meanwhile follows in order", function()
      local reports, got = {}, {}
      local mq = client(server, { on_error = function(_, err) reports[#reports + 1] = err end })
      assert(mq:on("/later", function(message)
        tools.sleep(0.003)
        if tonumber(message.payload) % 2 == 0 then
          error("even " .. message.payload)
        end
        got[#got + 1] = message.payload
      end))
      for i = 1, 9 do
        mq:post("/later", tostring(i))
      end
      expect(got, 5)
      assert.same({ "1", "3", "5", "7", "9" }, got)
      assert.equal(4, #reports)
      assert.matches("even 2.*stack traceback", reports[1])
    end)

    it("do not disturb other subscriptions, nor the other callbacks of the pattern", function()
      local mq = client(server, { on_error = function() end })
      assert(mq:on("/shared", function() error("first") end))
      local same, other = inbox(mq, "/shared"), inbox(mq, "/other")
      for i = 1, 20 do
        mq:post(i % 2 == 0 and "/shared" or "/other", tostring(i))
      end
      expect(same, 10)
      expect(other, 10)
    end)

    it("may raise anything, and on_error may raise too", function()
      local values, reports = { {}, false, 42 }, 0
      local mq = client(server, { on_error = function()
        reports = reports + 1
        if reports == 2 then
          error("in the handler")
        end
      end })
      local got = {}
      assert(mq:on("/any", function(message)
        local n = tonumber(message.payload)
        if n <= 3 then
          error(values[n])
        elseif n == 4 then
          error()
        end
        got[#got + 1] = n
      end))
      local stderr = io.stderr
      io.stderr = { write = function(_, ...) got.stderr = (got.stderr or "") .. table.concat({ ... }) end }   -- luacheck: ignore
      for i = 1, 5 do
        mq:post("/any", tostring(i))
      end
      local ok, err = pcall(expect, got, 1)
      io.stderr = stderr   -- luacheck: ignore
      assert(ok, err)
      assert.equal(4, reports)
      assert.matches("in the handler", got.stderr)
      assert.is_true(mq:emit("/x", ""))
    end)

    -- LuaJIT raises the interpreter's Ctrl-C in whichever coroutine runs.
    it("let an interrupt through to the program, and hear of what comes after it", function()
      for _, pause in ipairs { false, 0.01 } do
        local mq, got = client(server), {}
        assert(mq:on("/interrupted", function(message)
          got[#got + 1] = message and message.payload or "lost"
          if message and message.payload == "1" then
            if pause then
              tools.sleep(pause)
            end
            error("main.lua:1: interrupted!", 0)
          end
        end))
        local ok, err = pcall(function()
          for number = 1, 3 do
            assert(mq:emit("/interrupted", tostring(number)))
          end
          expect(got, 9)
        end)
        assert.same({ false, "main.lua:1: interrupted!" }, { ok, err })
        assert.is_true(mq:emit("/interrupted", "4") ~= nil)
        eventually(function() return got[#got] == "4" end)
        assert.equal("1", got[1])
        mq:close()
      end
    end)

    it("report on stderr where there is no on_error, and the program goes on", function()
      local code, out, err = helper.run_lua([[
        local MQ = require "MQ.redis"
        local mq = MQ:new { port = tonumber(arg[1]) }
        mq:on("/x", function(message)
          if message.payload == "bad" then error("in the callback") end
          print(message.payload)
          mq:close()
        end)
        mq:post("/x", "bad")
        mq:post("/x", "good")
        print((mq:start()))
      ]], { args = { server.port } })
      assert.same({ 0, "good\ntrue\n" }, { code, out })
      assert.matches("in the callback.*stack traceback:", err)
      assert.equal(1, select(2, err:gsub("in the callback", "")))
    end)
  end)
end)
