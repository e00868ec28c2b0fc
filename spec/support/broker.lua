-- What the brokers in this directory share: to start one on free ports and wait until it answers, to end, suspend and
-- restart it, to show its log. Must not know: which broker it is, what its configuration looks like.
--
-- A broker is a table of functions made by Broker.define:
--   configure(self, options)  chooses ports (Broker.free_port), writes files into self.dir; again for each attempt
--   command(self)             -> argv and its environment (name = value), which becomes the process self.pid
--   ready(self)               -> true once it answers; called until then
--   before(self), after(self) optional: what has to run beside it
-- with name, start_limit and stop_limit (seconds).

local ports = require "spec.support.ports"
local sys = require "spec_sys"

local Broker = { free_port = ports.free_port }

-- The lines of `list`, then "name value" (or as `format` says) for what has a name.
function Broker.settings(list, config, format)
  for name, value in pairs(config or {}) do
    list[#list + 1] = type(name) == "number" and value or (format or "%s %s"):format(name, tostring(value))
  end
  return list
end

function Broker.write_file(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

-- Connects, sends `request` and gives the first bytes of the answer; nil where nobody answers within `seconds`.
function Broker.ask(port, request, seconds, host)
  local fd = sys.connect(host or "127.0.0.1", port, seconds or 1)
  if not fd then
    return nil
  end
  sys.write(fd, request, seconds or 1)
  local answer = sys.read(fd, 256, seconds or 1)
  sys.close(fd)
  return answer
end

-- An MQTT 3.1.1 CONNECT (section 3.1) with a clean session and 10 s of keepalive.
function Broker.mqtt_connect(user, password)
  local function text(value) return string.char(math.floor(#value / 256), #value % 256) .. value end
  local flags = 0x02 + (user and 0x80 or 0) + (password and 0x40 or 0)
  local body = text("MQTT") .. string.char(4, flags, 0, 10) .. text("")
    .. (user and text(user) or "") .. (password and text(password) or "")
  return "\16" .. string.char(#body) .. body
end

-- Does an MQTT broker answer with a CONNACK, of whatever code?
function Broker.answers_mqtt(port, user, password)
  local answer = Broker.ask(port, Broker.mqtt_connect(user, password))
  return answer ~= nil and answer:sub(1, 2) == "\32\2"
end

-- Does a STOMP broker answer, be it with ERROR?
function Broker.answers_stomp(port, user, password)
  local answer = Broker.ask(port, ("CONNECT\naccept-version:1.2\nhost:/\nlogin:%s\npasscode:%s\n\n\0"):format(
    user or "", password or ""))
  return answer ~= nil and (answer:find("^CONNECTED") or answer:find("^ERROR")) ~= nil
end

local methods = {}

local function launch(self)
  local argv, environment = self:command()
  -- its output joins the log; exec keeps the pid
  local command = { "env" }
  for name, value in pairs(environment or {}) do
    command[#command + 1] = name .. "=" .. value
  end
  for _, word in ipairs { "sh", "-c", 'exec "$@" >>"$0" 2>&1', self.dir .. "/output" } do
    command[#command + 1] = word
  end
  for _, word in ipairs(argv) do
    command[#command + 1] = tostring(word)
  end
  command.cwd = self.dir
  if self.before then
    self:before()
  end
  self.pid = assert(sys.spawn(command))
  local deadline = sys.now() + self.start_limit
  while not self:ready() do
    -- paces the attempts and notices at once when it could not start
    if sys.wait(self.pid, 0.02) then
      self.pid = nil
      self:ended()
      return nil, self:log()
    elseif sys.now() > deadline then
      self:kill()
      return nil, ("%s does not answer within %d s:\n%s"):format(self.name, self.start_limit, self:log())
    end
  end
  return true
end

function methods:ended()
  if self.after then
    self:after()
  end
end

local function finish(self, signal, limit)
  if self.pid then
    sys.kill(self.pid, signal)
    sys.kill(self.pid, "CONT") -- a suspended one could not act on TERM
    if not sys.wait(self.pid, limit) then
      sys.kill(self.pid, "KILL")
      sys.wait(self.pid)
    end
    self.pid = nil
  end
  self:ended()
end

-- An orderly end: clients see the connection close; what is persistent is written.
function methods:stop() finish(self, "TERM", self.stop_limit) end

-- SIGKILL. The kernel closes its connections.
function methods:kill() finish(self, "KILL", 5) end

-- For clean-up: ends it now, in whatever state it is.
methods.discard = methods.kill

-- Does no thread run? (Linux; elsewhere there is nothing to read.)
local function stopped(pid)
  local pipe = assert(io.popen(("cat /proc/%d/task/*/status 2>/dev/null"):format(pid)))
  local text = pipe:read("*a")
  pipe:close()
  for state in text:gmatch("State:%s+(%a)") do
    if state ~= "T" then
      return false
    end
  end
  return true
end

-- SIGSTOP: connections stay open, nothing answers. The kernel stops a broker's threads one by one, after the signal
-- has been sent; this returns when the last one stands.
function methods:suspend()
  assert(sys.kill(self.pid, "STOP"))
  local deadline = sys.now() + 5
  while not stopped(self.pid) do
    if sys.now() > deadline then
      error(self.name .. " does not stop", 2)
    end
    sys.sleep(0.002)
  end
end

function methods:resume() assert(sys.kill(self.pid, "CONT")) end

-- Starts it anew on the same ports and directory, after stop or kill (or stops it first).
function methods:restart()
  self:stop()
  local ok, message = launch(self)
  if not ok then
    error(("%s did not start again:\n%s"):format(self.name, message), 2)
  end
end

-- Everything that it has written so far.
function methods:log()
  local all = {}
  for _, path in ipairs { self.dir .. "/output", self.log_path } do
    local file = io.open(path)
    if file then
      all[#all + 1] = file:read("*a")
      file:close()
    end
  end
  return table.concat(all)
end

-- A broker's table of functions gets the common ones, and start(dir, options) -> the broker, which answers.
function Broker.define(class)
  class.__index = class
  for name, method in pairs(methods) do
    class[name] = class[name] or method
  end
  function class.start(dir, options)
    options = options or {}
    local self, message
    for _ = 1, 3 do -- another process may take a free port first
      self = setmetatable({ dir = dir, host = "127.0.0.1" }, class)
      self:configure(options)
      local ok
      ok, message = launch(self)
      if ok then
        return self
      elseif options.port or not (message:find("[Aa]ddress already in use") or message:find("eaddrinuse", 1, true)) then
        break
      end
    end
    error(("%s did not start:\n%s"):format(class.name, message), 0)
  end
  return class
end

return Broker
