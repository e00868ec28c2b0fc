-- A scripted server, run as a process of its own by helper.peer: `lua peer_main.lua SCRIPT LOG PORT`.
-- Each connection runs SCRIPT in a forked child with the globals `conn` and `number` (1 for the
-- first connection). On stdin the line "count" asks how many connections there were.

local sys = require "spec_sys"

local script, log_path, port = arg[1], arg[2], tonumber(arg[3])
local listener, listening = assert(sys.listen(port))
local body = assert(loadfile(script))

local Connection = {}
Connection.__index = Connection

-- One line in the peer's log, which the spec reads with peer:log().
function Connection:log(text)
  local file = assert(io.open(log_path, "a"))
  file:write(self.number, "\t", text, "\n")
  file:close()
end

local function more(self)
  local data = sys.read(self.fd)
  if not data or data == "" then
    sys.exit_now(0) -- the client went away
  end
  self.input = self.input .. data
end

-- Exactly n bytes.
function Connection:read(n)
  while #self.input < n do
    more(self)
  end
  local data = self.input:sub(1, n)
  self.input = self.input:sub(n + 1)
  return data
end

-- A line without its CRLF.
function Connection:line()
  while not self.input:find("\r\n", 1, true) do
    more(self)
  end
  local line, rest = self.input:match("^(.-)\r\n(.*)$")
  self.input = rest
  return line
end

-- A Redis command: {"PSUBSCRIBE", "/a/*"}; logged with tabs between its words.
function Connection:command()
  local words = {}
  for i = 1, tonumber(self:line():match("^%*(%d+)$")) do
    local size = tonumber(self:line():match("^%$(%d+)$"))
    words[i] = self:read(size)
    self:read(2)
  end
  words[1] = words[1]:upper()
  self:log(table.concat(words, "\t"))
  return words
end

-- Answers HELLO, AUTH, SELECT, CLIENT and PING as a Redis 7 would; returns the first other command.
function Connection:handshake()
  while true do
    local words = self:command()
    if words[1] == "HELLO" then
      self:send("%3\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$5\r\nproto\r\n:3\r\n")
    elseif words[1] == "PING" then
      self:send("+PONG\r\n")
    elseif words[1] == "AUTH" or words[1] == "SELECT" or words[1] == "CLIENT" then
      self:send("+OK\r\n")
    else
      return words
    end
  end
end

-- Confirms a PSUBSCRIBE or SUBSCRIBE (as :command gave it) in RESP3.
function Connection:confirm(words)
  for i = 2, #words do
    self:send((">3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n:%d\r\n"):format(
      #words[1], words[1]:lower(), #words[i], words[i], i - 1))
  end
end

-- A pub/sub push for a pattern subscription.
function Connection:push(pattern, channel, payload)
  self:send((">4\r\n$8\r\npmessage\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"):format(
    #pattern, pattern, #channel, channel, #payload, payload))
end

function Connection:send(data)
  if not sys.write(self.fd, data) then
    sys.exit_now(0)
  end
end

-- Says nothing and keeps reading until the client goes.
function Connection:hold()
  while true do
    self.input = ""
    more(self)
  end
end

-- Says nothing and does not even read.
function Connection.freeze()
  sys.poll({}, {})
end

-- Ends with a reset instead of an orderly close.
function Connection:reset()
  sys.reset(self.fd)
  sys.exit_now(0)
end

local count, children = 0, {}

local function serve(fd)
  count = count + 1
  local pid = assert(sys.fork())
  if pid > 0 then
    sys.close(fd)
    children[pid] = true
    return
  end
  sys.close(listener)
  local conn = setmetatable({ fd = fd, input = "", number = count }, Connection)
  _G.conn, _G.number, _G.sys = conn, count, sys
  local ok, message = xpcall(body, debug.traceback)
  if not ok then
    conn:log("ERROR " .. tostring(message))
  end
  sys.exit_now(ok and 0 or 1)
end

io.stdout:write("port ", listening, "\n")
io.stdout:flush()

while true do
  local readable = assert(sys.poll({ 0, listener }, {}))
  if readable[0] then
    local request = sys.read(0)
    if not request or request == "" then
      os.exit(0)
    end
    io.stdout:write("count ", count, "\n")
    io.stdout:flush()
  end
  if readable[listener] then
    serve(assert(sys.accept(listener)))
  end
  for pid in pairs(children) do
    if sys.wait(pid, 0) then
      children[pid] = nil
    end
  end
end
