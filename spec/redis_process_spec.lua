-- MQ.redis and processes: scripts that end with clients open, fork, Lua states that a C program closes.

local helper = require "spec.helper"
local tools = require "spec.redis_tools"

local client, inbox, expect = tools.client, tools.inbox, tools.expect
local eventually = helper.eventually

-- What a script may be in the middle of when it ends.
local situations = {
  ["a client that did nothing"] = "",
  ["a connected client"] = 'assert(mq:emit("x", ""))',
  ["a subscription"] = 'assert(mq:on("/flood", print))',
  ["messages pouring in"] = [[
    local count = 0
    assert(mq:on("/flood", function() count = count + 1 end))
    loop.run_until(function() return count > 100 end)
  ]],
  ["messages pouring in that nobody takes"] = [[
    assert(mq:on("/flood", function() end))
    local until_then = os.clock() + 0.02
    while os.clock() < until_then do end
  ]],
  ["posts queued"] = 'for i = 1, 1000 do mq:post("x", ("y"):rep(1000)) end',
  ["no server"] = 'mq = MQ:new { port = 1 } mq:post("x", "")',
  ["a closed client"] = 'mq:on("/flood", print) mq:close()',
  ["a coroutine that waits"] = [[
    loop.spawn(function() mq:on("/flood", function() loop.sleep(60) end) mq:emit("x", "") loop.sleep(60) end)
    loop.sleep(0.03)
  ]],
  ["many clients"] = 'for i = 1, 50 do clients[i] = MQ:new { port = port } clients[i]:post("x", "") end',
}

local prelude = [[
  local MQ = require "MQ.redis"
  local loop = require("MQ.loop").current()
  local port = tonumber(arg[1])
  mq, clients = MQ:new { port = port }, {}
]]

describe("MQ.redis", function()
  local server, flood

  setup(function()
    server = helper.redis { config = { ["client-output-buffer-limit pubsub"] = "0 0 0" } }
  end)
  after_each(tools.close_all)

  -- Publishes to /flood without end, in a process of its own.
  local function start_flood()
    flood = helper.start_lua([[
      local mq = require("MQ.redis"):new { port = tonumber(arg[1]), max_queue = 500 }
      print "up" io.stdout:flush()
      while mq:post("/flood", ("x"):rep(200)) do end
    ]], { args = { server.port } })
    flood:expect("up")
  end

  describe("at the end of a script with", function()
    setup(start_flood)
    teardown(function() flood:stop() end)

    local endings = {
      ["the end of the script"] = { "", 0 },
      ["os.exit(3)"] = { "os.exit(3)", 3 },
      ["os.exit(3, true)"] = { "os.exit(3, true)", 3 },   -- closes the state where Lua knows how
      ["an error"] = { 'error("on purpose")', 1, "on purpose" },
      ["os.exit in a coroutine"] = { "loop.spawn(function() os.exit(3) end) loop.run()", 3 },
    }
    for name, situation in pairs(situations) do
      it(name, function()
        for how, ending in pairs(endings) do
          local script = prelude .. situation .. "\n" .. ending[1] .. "\n"
          local code, _, err = helper.run_lua(script, { args = { server.port } })
          assert.same({ how, ending[2] }, { how, code }, err)
          assert.matches(ending[3] or "^$", err)
        end
      end)
    end

    it("os.exit in a callback", function()
      local code, _, err = helper.run_lua(prelude .. [[
        mq:on("/flood", function() os.exit(7) end)
        mq:start()
      ]], { args = { server.port } })
      assert.same({ 7, "" }, { code, err })
    end)

    it("start(), and an interrupt or a termination", function()
      for signal, wanted in pairs { INT = 1, TERM = 143 } do
        local child = helper.start_lua(prelude .. [[
          mq:on("/flood", function() if not up then up = true print "up" io.stdout:flush() end end)
          mq:start()
        ]], { args = { server.port } })
        child:expect("up")
        child:kill(signal)
        assert.equal(wanted, (child:wait(5)))
      end
    end)
  end)

  describe("fork", function()
    -- What a child does with clients of its own.
    local function child_works(name)
      local mq = tools.MQ:new { port = server.port, timeout = 5 }
      local got = {}
      assert(mq:on(name, function(message) got[#got + 1] = message.payload end))
      assert(mq:emit(name, "of the child"))
      eventually(function() return got[1] == "of the child" end)
      assert(mq:close())
      return true
    end

    it("after require", function()
      local code, out, err = helper.run_lua([[
        local MQ = require "MQ.redis"
        local helper = require "spec.helper"
        local function works()
          local mq = MQ:new { port = tonumber(arg[1]), timeout = 5 }
          local got
          assert(mq:on("/" .. helper.sys.getpid(), function(message) got = message.payload mq:close() end))
          assert(mq:emit("/" .. helper.sys.getpid(), "hello"))
          assert(mq:start())
          return got == "hello"
        end
        for _ = 1, 3 do print(helper.forked(works)) end
        print(works())
        print(helper.forked(works))
      ]], { args = { server.port }, timeout = 20 })
      assert.same({ "", 0, "0\n0\n0\ntrue\n0\n" }, { err, code, out })
    end)

    it("after new: the parent's client says so, the child's own works, the parent's is undisturbed", function()
      local mq = client(server, { timeout = 5 })
      local got = inbox(mq, "/parent")
      assert(mq:post("/parent", "queued"))
      assert.equal(0, helper.forked(function()
        for _, results in ipairs {
          { mq:emit("/parent", "x") }, { mq:post("/parent", "x") }, { mq:on("/new", function() end) },
          { mq:off("/parent") }, { mq:start() },
        } do
          assert.same({ "nil", "string", "closed" }, { type(results[1]), type(results[2]), results[3] })
        end
        assert(select(4, mq:flush()) == "closed")
        mq:stats()
        mq:close()
        child_works("/child")
        collectgarbage()
        return true
      end))
      assert.same({ true, 1 }, { mq:emit("/parent", "x") })
      expect(got, 2)
      assert.same({ "queued", "x", lost = 0 }, got)
      assert.equal(0, mq:stats().reconnects)
      assert.equal(1, server:client_count())
    end)

    it("of a child that forgets the parent's client, and of a grandchild", function()
      local mq = client(server)
      local got = inbox(mq, "/kept")
      assert.equal(0, helper.forked(function()
        child_works("/child")
        return helper.forked(function() return child_works("/grandchild") end) == 0
      end, 20))
      assert.same({ true, 1 }, { mq:emit("/kept", "x") })
      expect(got, 1)
    end)

    it("again and again while messages pour in", function()
      start_flood()
      local mq, count = client(server), 0
      assert(mq:on("/flood", function() count = count + 1 end))
      for i = 1, 15 do
        local before = count
        eventually(function() return count > before end)
        assert.same({ i, 0 }, { i, helper.forked(function() return child_works("/child/" .. i) end) })
      end
      local before = count
      eventually(function() return count > before end)
      assert.equal(0, mq:stats().reconnects)
      flood:stop()
    end)
  end)

  describe("in a C program", function()
    setup(start_flood)
    teardown(function() flood:stop() end)

    it("a state is closed while messages pour in", function()
      local code, out, err = helper.run_host("close", 20, [[
        local MQ = require "MQ.redis"
        local port, count = tonumber(arg[1]), 0
        clients = {}
        for i = 1, 3 do
          clients[i] = MQ:new { port = port }
          assert(clients[i]:on("/flood", function() count = count + 1 end))
          clients[i]:post("/elsewhere", "")
        end
        require("MQ.loop").current().run_until(function() return count > 10 * round end)
      ]], { args = { tostring(server.port) } })
      assert.same({ 0, "closed 20\n", "" }, { code, out, err })
      eventually(function() return server:client_count() == 1 end)   -- the flood's
    end)

    it("a state is closed that waits in coroutines, and one whose clients are closed", function()
      local code, out, err = helper.run_host("close", 10, [[
        local MQ = require "MQ.redis"
        local loop = require("MQ.loop").current()
        local port, count = tonumber(arg[1]), 0
        local mq = MQ:new { port = port }
        loop.spawn(function()
          mq:on("/flood", function() count = count + 1 loop.sleep(60) end)
          while mq:emit("/elsewhere", "") do end
        end)
        loop.run_until(function() return count == 1 end)
        if round % 2 == 0 then mq:close() end
      ]], { args = { tostring(server.port) } })
      assert.same({ 0, "closed 10\n", "" }, { code, out, err })
    end)

    it("two states in two threads get what is theirs", function()
      local code, out, err = helper.run_host("threads", 10, [[
        local MQ = require "MQ.redis"
        local mq = MQ:new { port = tonumber(arg[1]) }
        local name, got = "/thread/" .. thread, 0
        assert(mq:on(name, function(message)
          assert(message.payload == name .. round)
          got = got + 1
        end))
        assert(mq:on("/flood", function() end))
        for i = 1, 100 do
          if i % 10 == 0 then assert(mq:emit(name, name .. round)) else assert(mq:post(name, name .. round)) end
        end
        require("MQ.loop").current().run_until(function() return got == 100 end)
        if round % 2 == 0 then assert(mq:close()) end
      ]], { args = { tostring(server.port) } })
      assert.same({ 0, "closed 20\n", "" }, { code, out, err })
    end)
  end)
end)
