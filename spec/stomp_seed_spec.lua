-- The three scripts of the chapter that MQ's API comes from (spec/seed/*.lua) with MQ.stomp in place of MQ.redis, run
-- by `mq run`; with prefix = "/topic" before what they write.
--
-- MQ sends a destination as it is written, and what it means is the broker's affair. "/topic/queue" is a topic on all.
-- In RabbitMQ's topics the levels are parted by dots and a further slash is an error; so two of the scripts have
-- dots there. ActiveMQ takes slashes, but has its wildcards between dots, too.

local helper = require "spec.helper"
local tools = require "spec.stomp_tools"

local has_integers = _VERSION >= "Lua 5.3"   -- two of the scripts write 1 << 32

-- it, or pending with the reason
local function maybe(name, needs_integers, body)
  if needs_integers and not has_integers then
    pending(name .. ": the script needs Lua 5.3 or later")
  else
    it(name, body)
  end
end

local function read(path)
  local file = assert(io.open(path))
  local text = file:read("*a")
  file:close()
  return text
end

local function replace(text, from, to)
  local changed, count = text:gsub(from, to)
  assert(count > 0, from)
  return changed
end

-- What it logs for each message: the place, and the rest of the line (a pattern).
local function logged(line, rest)
  return "^%[[^%]]+%] %[@script/main%.lua:" .. line .. "%] %[DEBUG%] : " .. rest .. "$"
end

-- The fields of a dumped message, in any order -> table. The payload is JSON, which has quotation marks of its own.
local function fields(dumped)
  local found = { payload = dumped:match('%["payload"%]="(.-})"') }
  for _, name in ipairs { "pattern", "source", "type" } do
    found[name] = dumped:match('%["' .. name .. '"%]="([^"]*)"')
  end
  return found
end

-- Ctrl-C: every client is closed, 130, nothing on stderr -> the lines of its log.
local function interrupt(process)
  process:kill("INT")
  local code, out, err = process:wait(10)
  assert.same({ 130, "" }, { code, err })
  local list = {}
  for line in out:gmatch("([^\n]*)\n") do
    list[#list + 1] = line
  end
  return list
end

describe("the chapter's scripts over STOMP:", function()
  after_each(helper.stop_all)

  -- Starts a script as script/main.lua -> the process, the number of the line that logs what arrives, the proxy.
  local function run(name, server, change)
    local dir, proxy = helper.tmpdir(), tools.proxy(server)
    os.execute("mkdir " .. dir .. "/script")
    local text = read(helper.root .. "/spec/seed/" .. name .. ".lua")
    text = replace(text, "MQ%.redis", "MQ.stomp")
    text = replace(text, "6379", tostring(proxy.port))
    text = replace(text, 'host = "localhost"', '%0, prefix = "/topic", username = "guest", password = "guest"')
    text = change and change(text) or text
    local file = assert(io.open(dir .. "/script/main.lua", "w"))
    file:write(text)
    file:close()
    local process = helper.start_lua(helper.root .. "/bin/mq", {
      args = { "run", "script/main.lua" }, cwd = dir, interp = "/bin/sh",
      env = { LUA = helper.interpreter, LUA_PATH = false, LUA_CPATH = false, NO_COLOR = "1" },
    })
    return process, select(2, text:match("^(.*)Log:DEBUG"):gsub("\n", "")) + 1, proxy
  end

  local function open(proxy) return (select(2, proxy.count())) end

  maybe("100 messages of 100 producers reach one consumer", true, function()
    local process, line, proxy = run("queue", helper.shared_rabbitmq())
    process:expect("已经消费了100个消息\n", 20)
    helper.eventually(function() return open(proxy) == 1 end, 5, "the producers have closed theirs")
    local list = interrupt(process)
    assert.equal(100, #list)
    for i, each in ipairs(list) do
      local dumped = each:match(logged(line, "开始消费:, ({.*}), 已经消费了" .. i .. "个消息"))
      assert(dumped, each)
      local message = fields(dumped)
      assert.matches('"id":%d+', message.payload)
      assert.same({ "/queue", "/topic/queue", "message" }, { message.pattern, message.source, message.type })
    end
    helper.eventually(function() return open(proxy) == 0 end, 5, "no client is left")
  end)

  maybe("a push reaches the one user whose pattern matches, once a second", false, helper.real_broker_only(
    "the embedded broker's STOMP topics have no wildcards", function()
    local process, line = run("push", helper.shared_rabbitmq(), function(text)
      text = replace(text, '"/user/"', '"/user."')
      text = replace(text, '"/%*"', '".*"')
      return replace(text, '"/ad"', '".ad"')
    end)
    process:expect("\n[^\n]*接收到推送消息[^\n]*\n", 10)
    local list = interrupt(process)
    assert.is_true(#list >= 2)
    for _, each in ipairs(list) do
      local uid, dumped = each:match(logged(line, "UID:%[(%d+)%]接收到推送消息, ({.*})"))
      assert(uid, each)
      local message = fields(dumped)
      assert.same({ "/user." .. uid .. ".*", "/topic/user." .. uid .. ".ad", "message" },
        { message.pattern, message.source, message.type })
      assert.matches('"code":200', message.payload)
    end
  end))

  local function broadcast(server, destination, change)
    local process, line = run("broadcast", server, change)
    process:expect(("[^\n]*UID:[^\n]*\n"):rep(3), 15)
    local list = interrupt(process)
    assert.equal(0, #list % 3)
    local counts, users = {}, 0
    for _, each in ipairs(list) do
      local uid, dumped = each:match(logged(line, "UID:%[(%d+)%]接收到消息: , ({.*})"))
      assert(uid, each)
      local message = fields(dumped)
      assert.same({ destination, "/topic" .. destination, "message" },
        { message.pattern, message.source, message.type })
      assert.is_truthy(message.payload:find('"msg":"系统即将关闭"', 1, true))
      users = users + (counts[uid] and 0 or 1)
      counts[uid] = (counts[uid] or 0) + 1
    end
    assert.equal(3, users)
  end

  maybe("each of three clients gets every broadcast", true, function()
    broadcast(helper.shared_rabbitmq(), "/system.notice", function(text)
      return replace(text, '"/system/notice"', '"/system.notice"')
    end)
  end)

  if helper.lua == "lua5.4" then
    maybe("each of three clients gets every broadcast of an ActiveMQ, as it is written", true, function()
      broadcast(helper.shared_activemq(), "/system/notice")
    end)
  end
end)
