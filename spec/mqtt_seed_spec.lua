-- The three scripts of the chapter that MQ's API comes from (spec/seed/*.lua) with MQ.mqtt in place of MQ.redis, run by
-- `mq run`.

local helper = require "spec.helper"
local tools = require "spec.mqtt_tools"

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
  for _, name in ipairs { "pattern", "source", "topic", "type" } do
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

describe("the chapter's scripts over MQTT:", function()
  local server

  setup(function() server = tools.mosquitto { log = true } end)

  -- Starts a script as script/main.lua -> the process, and the number of the line that logs what arrives.
  local function run(name, change)
    local dir = helper.tmpdir()
    os.execute("mkdir " .. dir .. "/script")
    local text = read(helper.root .. "/spec/seed/" .. name .. ".lua")
    text = replace(text, "MQ%.redis", "MQ.mqtt")
    text = replace(text, "6379", tostring(server.port))
    text = change and change(text) or text
    local file = assert(io.open(dir .. "/script/main.lua", "w"))
    file:write(text)
    file:close()
    local process = helper.start_lua(helper.root .. "/bin/mq", {
      args = { "run", "script/main.lua" }, cwd = dir, interp = "/bin/sh",
      env = { LUA = helper.interpreter, LUA_PATH = false, LUA_CPATH = false, NO_COLOR = "1" },
    })
    return process, select(2, text:match("^(.*)Log:DEBUG"):gsub("\n", "")) + 1
  end

  local function gone()
    helper.eventually(function() return server:client_count() == 0 end, 5, "no client is left")
  end

  maybe("100 messages of 100 producers reach one consumer", true, function()
    local process, line = run "queue"
    process:expect("已经消费了100个消息\n", 20)
    helper.eventually(function() return server:client_count() == 1 end, 5, "the producers have closed theirs")
    local list = interrupt(process)
    assert.equal(100, #list)
    local ids, distinct = {}, 0
    for i, each in ipairs(list) do
      local dumped = each:match(logged(line, "开始消费:, ({.*}), 已经消费了" .. i .. "个消息"))
      assert(dumped, each)
      local message = fields(dumped)
      local id = message.payload:match('"id":(%d+)')
      assert.same({ "/queue", "/queue", "/queue", "publish" },
        { message.pattern, message.source, message.topic, message.type })
      distinct = distinct + (ids[id] and 0 or 1)
      ids[id] = true
    end
    assert.is_true(distinct > 95)
    gone()
  end)

  maybe("a push reaches the one user whose filter matches, once a second", false, function()
    local process, line = run("push", function(text) return replace(text, '"/%*"', '"/+"') end)
    process:expect("\n[^\n]*接收到推送消息[^\n]*\n", 10)
    local list = interrupt(process)
    assert.is_true(#list >= 2)
    for _, each in ipairs(list) do
      local uid, dumped = each:match(logged(line, "UID:%[(%d+)%]接收到推送消息, ({.*})"))
      assert(uid, each)
      local message = fields(dumped)
      assert.same({ "/user/" .. uid .. "/+", "/user/" .. uid .. "/ad", "publish" },
        { message.pattern, message.source, message.type })
      assert.matches('"code":200', message.payload)
    end
    local published = select(2, server:log():gsub("Received PUBLISH from [^\n]*'/user/%d+/ad'", ""))
    assert.is_true(#list <= published)
    gone()
  end)

  maybe("each of three clients gets every broadcast", true, function()
    local process, line = run "broadcast"
    process:expect(("[^\n]*UID:[^\n]*\n"):rep(6), 15)
    local list = interrupt(process)
    assert.equal(0, #list % 3)
    local counts, users = {}, 0
    for _, each in ipairs(list) do
      local uid, dumped = each:match(logged(line, "UID:%[(%d+)%]接收到消息: , ({.*})"))
      assert(uid, each)
      local message = fields(dumped)
      assert.same({ "/system/notice", "/system/notice", "publish" }, { message.pattern, message.source, message.type })
      assert.is_truthy(message.payload:find('"msg":"系统即将关闭"', 1, true))
      users = users + (counts[uid] and 0 or 1)
      counts[uid] = (counts[uid] or 0) + 1
    end
    assert.equal(3, users)
    for _, count in pairs(counts) do
      assert.equal(#list / 3, count)
    end
    gone()
  end)
end)
