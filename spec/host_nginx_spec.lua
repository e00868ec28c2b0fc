-- MQ in nginx: what its workers, requests and timers ask of it besides spec/hosts/scenario.lua.

local helper = require "spec.helper"

if helper.lua ~= "luajit" then
  return   -- which nginx has inside
end

local sys = helper.sys

-- Everything that is measured has a bound that a crowded machine keeps, too.
local LONGEST_GAP, IDLE_CPU, GROWTH = 1, 0.2, 3

local function eventually(seconds, what, condition)
  local deadline = sys.now() + seconds
  while true do
    local value = condition()
    if value then
      return value
    elseif sys.now() > deadline then
      error(("not within %d s: %s"):format(seconds, what), 2)
    end
    sys.sleep(0.02)
  end
end

-- A location whose handler is this Lua, with `mq`, the worker's client, and MQ.
local function location(path, lua)
  return ([[
    location = %s { content_by_lua_block {
      local MQ, mq = require "MQ", require "queue"
      %s
    } }
  ]]):format(path, lua)
end

describe("MQ in nginx's workers", function()
  local redis, nginx

  -- `worker`: what each does when it begins; `options.client`: more options of `mq`; `...`: locations.
  local function start(worker, options, ...)
    options.worker = ([[
      local MQ = require "MQ"
      local mq = MQ.connect(os.getenv "MQ_URL", { on_error = function(_, err) ngx.log(ngx.ERR, err) end, %s })
      package.loaded.queue = mq
      %s
    ]]):format(options.client or "", worker)
    options.env = { MQ_URL = redis.url, TMPDIR = options.tmpdir }
    options.http = (options.http or "") .. " lua_shared_dict seen 1m;"
    options.server = table.concat({
      location("/emit", 'ngx.say(tostring(mq:emit(ngx.var.arg_to, ngx.var.arg_say)))'),
      location("/seen", 'ngx.say(tostring(ngx.shared.seen:get(ngx.var.arg_key)))'), ...
    })
    nginx = helper.nginx(options)
    return nginx
  end

  local function complaints()
    local text = {}
    for line in nginx:log():gmatch("[^\n]+") do
      text[#text + 1] = #text < 10 and line or nil
    end
    return text
  end

  before_each(function()
    redis = redis or helper.redis()
  end)

  after_each(function()
    if nginx then
      nginx:stop()
      nginx = nil
    end
    redis:restart()
  end)

  it("a subscription of one worker feeds what requests of all read, and requests publish", function()
    start([[
      if ngx.worker.id() == 0 then
        MQ.loop.spawn(function()
          assert(mq:on("ngx/*", function(msg)
            if msg then
              ngx.sleep(0.001)
              ngx.shared.seen:set(msg.source, msg.payload)
              ngx.shared.seen:incr("count", 1, 0)
            end
          end))
          ngx.shared.seen:set("ready", true)
        end)
      end
    ]], {}, location("/worker", "mq:emit('ngx/who', 'x') ngx.say(ngx.worker.id())"))
    eventually(10, "the subscription", function() return nginx:get("/seen?key=ready") == "true\n" end)
    -- Several at once, in every worker.
    local workers, sent = {}, 0
    eventually(10, "both workers have answered", function()
      local requests = {}
      for index = 1, 10 do
        requests[index] = nginx:request("/worker")
      end
      for index = 1, 10 do
        workers[requests[index]():match("%d")] = true
        sent = sent + 1
      end
      return workers["0"] and workers["1"]
    end)
    assert.equal("true\n", (nginx:get("/emit?to=ngx/last&say=hello")))
    eventually(5, "all messages", function() return nginx:get("/seen?key=count") == sent + 1 .. "\n" end)
    assert.equal("hello\n", (nginx:get("/seen?key=ngx/last")))
    assert.same({}, complaints())
  end)

  it("ten thousand messages through a callback that yields stop no timer of nginx; idle, it costs nothing", function()
    start([[
      MQ.loop.spawn(function()
        local got = 0
        assert(mq:on("ngx/numbers", function(msg)
          got = got + 1
          assert(tonumber(msg.payload) == got)
          ngx.sleep(0)
          if got == 10000 then
            ngx.shared.seen:set("gap", package.loaded.gap.longest)
            ngx.shared.seen:set("ticks", package.loaded.gap.ticks)
          end
        end))
        ngx.shared.seen:set("ready", true)
      end)
      local core = require "MQ.core"
      local gap = { longest = 0, ticks = 0, last = core.now() }
      package.loaded.gap = gap
      ngx.timer.every(0.01, function()
        local now = core.now()
        gap.ticks, gap.longest, gap.last = gap.ticks + 1, math.max(gap.longest, now - gap.last), now
      end)
    ]], { workers = 1 }, location("/post", [[
      for index = 1, 10000 do
        assert(mq:post("ngx/numbers", tostring(index)))
        if index % 100 == 0 then
          ngx.sleep(0.001)
        end
      end
      ngx.say(tostring(mq:flush(30)))
    ]]), location("/idle", [[
      local cpu = os.clock()
      ngx.sleep(1)
      ngx.say(os.clock() - cpu)
    ]]))
    eventually(10, "the subscription", function() return nginx:get("/seen?key=ready") == "true\n" end)
    assert.equal("true\n", (nginx:get("/post", 60)))
    local gap = eventually(60, "all messages", function() return tonumber((nginx:get("/seen?key=gap"))) end)
    print(("longest gap of ngx.timer.every(0.01): %.3f s"):format(gap))
    assert.is_true(gap < LONGEST_GAP, "nginx's timer stood still for " .. gap .. " s")
    assert.is_true(tonumber((nginx:get("/seen?key=ticks"))) > 5)
    local cpu = tonumber((nginx:get("/idle")))
    assert.is_true(cpu < IDLE_CPU, "an idle second took " .. cpu .. " s of CPU")
    assert.same({}, complaints())
  end)

  it("waits wherever nginx lets a coroutine wait, and says so elsewhere", function()
    start([[
      local function keep(key, ok, err, code)
        ngx.shared.seen:set(key, ("%s %s %s"):format(tostring(ok), tostring(tostring(err):match("init_worker_by_lua")),
          tostring(code)))
      end
      package.loaded.keep = keep
      keep("init_worker", mq:emit("ngx/x", "x"))
      keep("sleep", pcall(MQ.loop.sleep, 0.01))
    ]], { http = [[
      init_by_lua_block {
        local MQ = require "MQ"
        local ok, err = pcall(MQ.connect, "redis://localhost")
        ngx.shared.seen:set("init", err)
      }
    ]] }, location("/inside", [[
      local function emit() return mq:emit("ngx/x", "x") end
      local said = { tostring(emit()), tostring(select(2, pcall(emit))), tostring(coroutine.wrap(emit)()),
        tostring(select(2, ngx.thread.wait(ngx.thread.spawn(emit)))) }
      table.sort({ 2, 1 }, function(a, b)
        package.loaded.keep("sort", emit())
        return a < b
      end)
      ngx.timer.at(0, function() package.loaded.keep("timer", emit()) end)
      ngx.say(table.concat(said, " "))
    ]]), [[
      location = /phases {
        rewrite_by_lua_block { package.loaded.keep("rewrite", require("queue"):emit("ngx/x", "x")) }
        access_by_lua_block { package.loaded.keep("access", require("queue"):emit("ngx/x", "x")) }
        content_by_lua_block { ngx.say(tostring(require("queue"):post("ngx/x", "x"))) }
        header_filter_by_lua_block { package.loaded.keep("filter", require("queue"):emit("ngx/x", "x")) }
        log_by_lua_block {
          package.loaded.keep("log", require("queue"):emit("ngx/x", "x"))
          package.loaded.keep("post", require("queue"):post("ngx/x", "x"))
        }
      }
    ]])
    assert.equal("true true true true\n", (nginx:get("/inside")))
    assert.equal("true\n", (nginx:get("/phases")))
    local function seen(key)
      return eventually(5, key, function()
        local value = nginx:get("/seen?key=" .. key)
        return value ~= "nil\n" and value
      end)
    end
    for _, key in ipairs { "rewrite", "access", "timer" } do
      assert.equal("true nil nil\n", seen(key), key)
    end
    for _, key in ipairs { "init_worker", "sort", "filter", "log" } do
      assert.equal("nil init_worker_by_lua invalid\n", seen(key), key)
    end
    assert.equal("false init_worker_by_lua nil\n", seen("sleep"))
    assert.equal("true nil nil\n", seen("post"))
    assert.matches("^MQ: init_by_lua runs before nginx forks its workers", seen("init"))
    assert.same({}, complaints())
  end)

  it("a wait that nginx ends is missed by nobody", function()
    start("", { workers = 1 }, location("/killed", [[
      local thread = ngx.thread.spawn(function() mq:emit("ngx/x", "killed") end)
      ngx.thread.kill(thread)
      ngx.say(tostring(mq:emit("ngx/x", "x")))
    ]]), location("/away", [[
      ngx.thread.spawn(function() mq:emit("ngx/x", "away") end)
      ngx.say("away")
      ngx.exit(200)
    ]]))
    for _ = 1, 20 do
      assert.equal("true\n", (nginx:get("/killed")))
      assert.equal("away\n", (nginx:get("/away")))
    end
    assert.equal("true\n", (nginx:get("/emit?to=ngx/x&say=x")))
    assert.same({}, complaints())
  end)

  it("nor is one that waits for room", function()
    start("", { workers = 1, client = "max_queue = 1, timeout = 0.3" }, location("/killed", [[
      local thread = ngx.thread.spawn(function()
        while true do mq:post("ngx/x", "x") end
      end)
      ngx.thread.kill(thread)
      ngx.say(tostring(mq:post("ngx/x", "y")), tostring(mq:post("ngx/x", "z")))
    ]]))
    assert.equal("niltrue\n", (nginx:get("/killed")))   -- for the first one there was no room within its time
    assert.equal("true\n", (nginx:get("/emit?to=ngx/x&say=x")))
    assert.same({}, complaints())
  end)

  it("goes on where there are too few timers for all that waits, and ends", function()
    start("", { workers = 1, http = "lua_max_running_timers 2;" }, location("/many", [[
      local left = 1100
      for _ = 1, left do
        MQ.loop.spawn(function()
          assert(mq:emit("ngx/x", "x"))
          left = left - 1
        end)
      end
      while left > 0 do ngx.sleep(0.01) end
      ngx.say("done")
    ]]))
    assert.equal("done\n", (nginx:get("/many", 30)))
    assert(sys.kill(nginx.pid, "QUIT"))
    assert.equal("exit 0", table.concat({ sys.wait(nginx.pid, 20) }, " ", 1, 2))
    nginx.pid = nil
    for _, line in ipairs(complaints()) do
      assert.matches("lua_max_running_timers are not enough", line)
    end
  end)

  it("polls where no socket can be made, and says so once", function()
    start("", { workers = 1, tmpdir = "/nonexistent" })
    for _ = 1, 5 do
      assert.equal("true\n", (nginx:get("/emit?to=ngx/x&say=x")))
    end
    local lines = complaints()
    assert.equal(1, #lines)
    assert.matches("MQ cannot connect to its own socket, looks ten times a second instead", lines[1])
  end)

  it("leaves nothing in the directory for temporary files", function()
    local dir = helper.tmpdir()
    start("", { workers = 1, tmpdir = dir })
    assert.equal("true\n", (nginx:get("/emit?to=ngx/x&say=x")))
    assert.equal(0, (helper.run { "rmdir", dir }))
    assert.same({}, complaints())
  end)

  it("what a callback allocates in nginx does not add up", function()
    local on = [[
      MQ.loop.spawn(function()
        local got = 0
        assert(mq:on("ngx/memory", function(msg)
          coroutine.wrap(function() ngx.sleep(0) end)()
          got = got + 1
          ngx.shared.seen:set("got", got)
        end))
        ngx.shared.seen:set("ready", true)
      end)
    ]]
    start(on, { workers = 1 }, location("/post", [[
      for index = 1, 1000 do
        assert(mq:emit("ngx/memory", tostring(index)))
      end
      collectgarbage()
      for line in io.lines("/proc/self/status") do
        local size = line:match("^VmRSS:%s+(%d+)")
        if size then ngx.say(size) end
      end
    ]]))
    eventually(10, "the subscription", function() return nginx:get("/seen?key=ready") == "true\n" end)
    local function round(count)
      local size
      for _ = 1, count do
        size = tonumber((nginx:get("/post", 30)))
      end
      return size / 1024
    end
    local before = round(10)
    local grown = round(30) - before
    print(("30,000 messages: %.1f MiB more"):format(grown))
    assert.is_true(grown < GROWTH, grown .. " MiB")
    eventually(10, "all messages", function() return nginx:get("/seen?key=got") == "40000\n" end)
    assert.same({}, complaints())
  end)

  it("close, from a request, and a client that is made in one", function()
    start("", { workers = 1 }, location("/close", [[
      local own = MQ.connect(os.getenv "MQ_URL")
      local got
      assert(own:on("ngx/own", function(msg) got = msg.payload end))
      assert(own:emit("ngx/own", "x"))
      while not got do ngx.sleep(0.001) end
      ngx.say(got, tostring(own:close()), tostring(select(3, own:emit("ngx/own", "y"))))
    ]]), location("/all", "ngx.say(tostring(mq:close()))"))
    assert.equal("xtrueclosed\n", (nginx:get("/close")))
    assert.equal("true\n", (nginx:get("/emit?to=ngx/x&say=x")))
    assert.equal("true\n", (nginx:get("/all")))
    assert.equal("nil\n", (nginx:get("/emit?to=ngx/x&say=x")))
    eventually(5, "no client is left", function() return redis:client_count() == 0 end)
  end)

  local subscribe = [[
    MQ.loop.spawn(function()
      assert(mq:on("ngx/news", function(msg)
        if msg then
          ngx.shared.seen:incr("news", 1, 0)
        end
      end))
      ngx.shared.seen:incr("subscribed", 1, 0)
    end)
    MQ.loop.at(0.05, function() mq:post("ngx/beat", "x") end)
  ]]
  local slow = location("/slow", [[
    ngx.shared.seen:incr("begun", 1, 0)
    ngx.sleep(0.4)
    ngx.say(tostring(mq:emit("ngx/news", "slow")))
  ]])
  local serving = location("/serve", [[
    ngx.shared.seen:incr("begun", 1, 0)
    ngx.say("serving")
    ngx.flush(true)
    ngx.say(tostring(mq:start()))
  ]])

  -- So many of those requests have begun: nginx does not begin one when it has been told to end.
  local function begun(count)
    eventually(10, "the requests have begun", function() return nginx:get("/seen?key=begun") == count .. "\n" end)
  end

  it("a worker that is told to end lets requests finish, closes its clients and ends", function()
    start(subscribe, {}, slow, serving, location("/late", [[
      ngx.shared.seen:incr("begun", 1, 0)
      local last = ngx.now() + 10
      repeat ngx.sleep(0.02) until mq:stats().state == "closed" or ngx.now() > last
      local late = MQ.connect(os.getenv "MQ_URL")
      ngx.say(tostring(select(3, mq:emit("ngx/x", "x"))), tostring(late:emit("ngx/x", "x")))
    ]]))
    eventually(10, "the subscriptions", function() return nginx:get("/seen?key=subscribed") == "2\n" end)
    local finish, serves, late = nginx:request("/slow"), nginx:request("/serve"), nginx:request("/late")
    begun(3)
    assert(sys.kill(nginx.pid, "QUIT"))
    assert.equal("true\n", (finish()))
    assert.equal("serving\ntrue\n", (serves()))
    assert.equal("closedtrue\n", (late()))
    assert.equal("exit 0", table.concat({ sys.wait(nginx.pid, 10) }, " ", 1, 2))
    nginx.pid = nil
    assert.equal(0, redis:client_count())
    assert.same({}, complaints())
  end)

  it("goes on over a reload", function()
    start(subscribe, {}, slow, location("/pid", "ngx.say(ngx.worker.pid())"))
    eventually(10, "the subscriptions", function() return nginx:get("/seen?key=subscribed") == "2\n" end)
    for round = 1, 2 do
      local before = nginx:get("/pid")
      local finish = nginx:request("/slow")
      begun(round)
      assert(sys.kill(nginx.pid, "HUP"))
      assert.equal("true\n", (finish()))
      for _ = 1, 50 do
        assert.equal("true\n", (nginx:get("/emit?to=ngx/news&say=x")))
      end
      eventually(10, "the new workers' subscriptions", function()
        return nginx:get("/seen?key=subscribed") == 2 + 2 * round .. "\n"
      end)
      eventually(15, "the old workers have ended", function()
        return redis:subscribers("ngx/news") == 0 and redis:cli("PUBSUB", "NUMPAT"):match("%d+") == "1"
          and redis:client_count() == 2
      end)
      assert.not_equal(before, (nginx:get("/pid")))
    end
    assert.same({}, complaints())
  end)

  it("ends at once when it is told so", function()
    start(subscribe, {}, serving)
    eventually(10, "the subscriptions", function() return nginx:get("/seen?key=subscribed") == "2\n" end)
    local serves = nginx:request("/serve")
    begun(1)
    assert(sys.kill(nginx.pid, "TERM"))
    assert.equal("exit 0", table.concat({ sys.wait(nginx.pid, 10) }, " ", 1, 2))
    nginx.pid = nil
    serves()
    eventually(5, "no client is left", function() return redis:client_count() == 0 end)
    assert.same({}, complaints())
  end)
end)
