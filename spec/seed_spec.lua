-- The four scripts of the chapter that MQ's API comes from (spec/seed/*.lua, as printed there; chat.lua has the `=`
-- that the page lacks in its first line), run by `mq run` against a server at localhost:6379, where they look for it.

local Browser = require "spec.support.browser"
local helper = require "spec.helper"
local sys = helper.sys

local PORT = 6379
local give_back, foreign = helper.standard_ports(PORT)
local has_integers = _VERSION >= "Lua 5.3"   -- two of the scripts write 1 << 32

-- it, or pending with the reason
local function maybe(name, needs_integers, body)
  if foreign then
    pending(name .. ": something listens on port 6379 already")
  elseif needs_integers and not has_integers then
    pending(name .. ": the script needs Lua 5.3 or later")
  else
    it(name, body)
  end
end

local function copy(name, target)
  local from = assert(io.open(helper.root .. "/spec/seed/" .. name .. ".lua"))
  local text = from:read("*a")
  from:close()
  local to = assert(io.open(target, "w"))
  to:write(text)
  to:close()
  return text
end

-- Starts a script as script/main.lua -> the process, and the number of the line that logs what arrives.
local function run(name, other)
  local dir = helper.tmpdir()
  os.execute("mkdir " .. dir .. "/script")
  local text = copy(name, dir .. "/script/main.lua")
  if other then
    copy(other, dir .. "/script/" .. other .. ".lua")
  end
  local process = helper.start_lua(helper.root .. "/bin/mq", {
    args = { "run", "script/main.lua" }, cwd = dir, interp = "/bin/sh",
    env = { LUA = helper.interpreter, LUA_PATH = false, LUA_CPATH = false, NO_COLOR = "1" },
  })
  local before = text:match("^(.*)Log:DEBUG") or ""
  return process, select(2, before:gsub("\n", "")) + 1
end

local function quote(text)
  return (text:gsub("%p", "%%%0"))
end

-- What a line of the log looks like: the time, the place, the level, and `rest` (a pattern).
local function logged(line, rest)
  return "^%[%d%d%d%d%-%d%d%-%d%d %d%d:%d%d:%d%d,%d%d%d%] " .. quote("[@script/main.lua:" .. line .. "] [DEBUG] : ")
    .. rest .. "$"
end

-- The fields of a dumped message, in any order -> table. The payload is JSON, which has quotation marks of its own.
local function fields(dumped)
  local found = { payload = dumped:match('%["payload"%]="(.-})"') }
  for _, name in ipairs { "pattern", "source", "type" } do
    found[name] = dumped:match('%["' .. name .. '"%]="([^"]*)"')
  end
  return found
end

local function lines(text)
  local list = {}
  for line in text:gmatch("([^\n]*)\n") do
    list[#list + 1] = line
  end
  return list
end

-- Ctrl-C: every client is closed, 130, nothing on stderr.
local function interrupt(process, server)
  process:kill("INT")
  local code, out, err = process:wait(10)
  assert.same({ 130, "" }, { code, err })
  if server then
    assert.equal(0, server:client_count())
  end
  return lines(out)
end

describe("the chapter's scripts:", function()
  local server

  setup(function()
    if not foreign then
      server = helper.redis { port = PORT }
    end
  end)

  teardown(function()
    helper.stop_all()
    give_back()
  end)

  maybe("100 messages of 100 producers reach one consumer", true, function()
    local process, line = run "queue"
    process:expect("已经消费了100个消息\n")
    assert.equal(1, server:client_count())   -- the producers have closed theirs
    local list = interrupt(process, server)
    assert.equal(100, #list)
    local ids, distinct = {}, 0
    for i, each in ipairs(list) do
      local dumped = each:match(logged(line, "开始消费:, ({.*}), 已经消费了" .. i .. "个消息"))
      assert(dumped, each)
      local message = fields(dumped)
      local id = message.payload:match('"id":(%d+)')
      assert.same({ "/queue", "/queue", "pmessage" }, { message.pattern, message.source, message.type })
      assert.matches('"code":200', message.payload)
      distinct = distinct + (ids[id] and 0 or 1)
      ids[id] = true
    end
    assert.is_true(distinct > 95)
  end)

  maybe("a push reaches the one user whose pattern matches, once a second", false, function()
    local process, line = run "push"
    local function subscribed() return server:cli("PUBSUB", "NUMPAT") == "10" end
    helper.eventually(subscribed, 5, "ten users have subscribed")
    process:expect("\n[^\n]*接收到推送消息[^\n]*\n", 10)
    local list = interrupt(process, server)
    assert.is_true(#list >= 2)
    local calls = tonumber(server:cli("INFO", "commandstats"):match("cmdstat_publish:calls=(%d+)"))
    for _, each in ipairs(list) do
      local uid, dumped = each:match(logged(line, "UID:%[(%d+)%]接收到推送消息, ({.*})"))
      assert(uid, each)
      local message = fields(dumped)
      assert.same({ "/user/" .. uid .. "/*", "/user/" .. uid .. "/ad", "pmessage" },
        { message.pattern, message.source, message.type })
      assert.matches('"code":200', message.payload)
    end
    assert.is_true(#list <= calls)
  end)

  maybe("each of three clients gets every broadcast", true, function()
    local process, line = run "broadcast"
    process:expect(("[^\n]*UID:[^\n]*\n"):rep(6), 15)
    local list = interrupt(process, server)
    assert.equal(0, #list % 3)
    local counts, users = {}, 0
    for _, each in ipairs(list) do
      local uid, dumped = each:match(logged(line, "UID:%[(%d+)%]接收到消息: , ({.*})"))
      assert(uid, each)
      local message = fields(dumped)
      assert.same({ "/system/notice", "/system/notice", "pmessage" }, { message.pattern, message.source, message.type })
      assert.is_truthy(message.payload:find('"msg":"系统即将关闭"', 1, true))
      users = users + (counts[uid] and 0 or 1)
      counts[uid] = (counts[uid] or 0) + 1
    end
    assert.equal(3, users)
    for _, count in pairs(counts) do
      assert.equal(#list / 3, count)
    end
  end)

  local taken = sys.connect("127.0.0.1", 8080, 1)
  if taken then
    sys.close(taken)
  end

  maybe("a chat: each browser gets what any of them says", true, function()
    if taken then
      pending "something listens on port 8080 already"
      return
    end
    local process = run("chat", "ws")
    local time = "%[%d%d%d%d/%d%d/%d%d %d%d:%d%d:%d%d%]"
    process:expect("^" .. time .. " %[INFO%] httpd正在监听: 0%.0%.0%.0:8080\n"
      .. time .. " %[INFO%] httpd正在运行Web Server服务%.%.%.\n$")
    local one, two = Browser.open(8080), Browser.open(8080)
    process:expect((time .. " %- 127%.0%.0%.1 %- 127%.0%.0%.1 %- /ws %- GET %- 101 %- req_time: %d%.%d+/Sec\n"):rep(2))
    helper.eventually(function() return server:cli("CLIENT", "LIST"):find("psub=1.*psub=1") end, 5)
    one:send("hello! 我是1")
    two:send("hello! 我是2")
    local heard = {}
    for _, browser in ipairs { one, one, two, two } do
      local op, data = browser:receive()
      assert.equal("text", op)
      heard[#heard + 1] = data
    end
    table.sort(heard)
    assert.same({ "hello! 我是1", "hello! 我是1", "hello! 我是2", "hello! 我是2" }, heard)
    process:expect "客户端%[%d+%]发送了消息:%[hello! 我是1%]\n"
    process:expect "客户端%[%d+%]发送了消息:%[hello! 我是2%]\n"
    one:say_close(1000)
    assert.same({ "close", 1000, "" }, { one:receive() })
    helper.eventually(function() return server:client_count() == 1 end, 5)
    process:kill("INT")
    assert.same({ "close", 1001, "" }, { two:receive() })
    two:say_close(1001)
    interrupt(process, server)
  end)
end)
