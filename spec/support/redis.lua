-- A private redis-server: free port, temporary directory, gone when the specs are.

local Process = require "spec.support.process"
local ports = require "spec.support.ports"
local sys = require "spec_sys"

local Redis = { __name = "redis-server" }
Redis.__index = Redis

local START_LIMIT = 10

local function reachable(port, path)
  local fd = sys.connect(path or "127.0.0.1", port, 1)
  if not fd then
    return false
  end
  sys.write(fd, "PING\r\n", 1)
  local answer = sys.read(fd, 64, 1)
  sys.close(fd)
  -- an error is an answer too: NOAUTH, a renamed PING
  return answer and answer:find("^[+-]") ~= nil and not answer:find("^-LOADING")
end

function Redis:launch()
  local log = assert(io.open(self.dir .. "/redis.log", "a"))
  log:close()
  self.pid = assert(sys.spawn { "redis-server", self.dir .. "/redis.conf", cwd = self.dir })
  local deadline = sys.now() + START_LIMIT
  while not reachable(self.port) do
    -- paces the attempts and notices at once when it could not start
    if sys.wait(self.pid, 0.01) then
      self.pid = nil
      return nil, self:log()
    elseif sys.now() > deadline then
      self:kill()
      return nil, "redis-server does not answer:\n" .. self:log()
    end
  end
  return true
end

local function write_config(self, options)
  local lines = {
    "port " .. self.port, "bind 127.0.0.1 -::1", 'save ""', "appendonly no", "daemonize no",
    "dir " .. self.dir, "logfile " .. self.dir .. "/redis.log",
    "unixsocket " .. self.path, "enable-debug-command yes",
  }
  if self.tls_port then
    local certificates = self.certificates
    lines[#lines + 1] = "tls-port " .. self.tls_port
    lines[#lines + 1] = "tls-ca-cert-file " .. certificates.ca
    lines[#lines + 1] = "tls-cert-file " .. certificates.cert
    lines[#lines + 1] = "tls-key-file " .. certificates.key
    lines[#lines + 1] = "tls-auth-clients " .. (options.client_certificates and "yes" or "no")
  end
  if options.password then
    lines[#lines + 1] = "requirepass " .. options.password
  end
  -- {name = value} for plain settings, strings for what may come twice (user, rename-command)
  for name, value in pairs(options.config or {}) do
    lines[#lines + 1] = type(name) == "number" and value or name .. " " .. tostring(value)
  end
  local file = assert(io.open(self.dir .. "/redis.conf", "w"))
  file:write(table.concat(lines, "\n"), "\n")
  file:close()
end

-- options: config, password, port, certificates (turns TLS on), client_certificates (demanded)
function Redis.start(dir, options)
  local self, message
  for _ = 1, 5 do -- another process may take the free port before redis does
    self = setmetatable({
      dir = dir, host = "127.0.0.1", port = options.port or ports.free_port(),
      path = dir .. "/redis.sock", password = options.password,
      certificates = options.certificates,
      tls_port = options.certificates and ports.free_port() or nil,
    }, Redis)
    write_config(self, options)
    local ok
    ok, message = self:launch()
    if ok then
      local login = options.password and ":" .. options.password .. "@" or ""
      self.url = ("redis://%s127.0.0.1:%d"):format(login, self.port)
      self.tls_url = self.tls_port and ("rediss://%slocalhost:%d"):format(login, self.tls_port)
      return self
    elseif options.port or not message:find("Address already in use", 1, true) then
      break
    end
  end
  error("redis-server did not start:\n" .. message, 0)
end

function Redis:log()
  local file = io.open(self.dir .. "/redis.log")
  local text = file and file:read("*a") or ""
  if file then
    file:close()
  end
  return text
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
end

-- An orderly end: clients see the connection close.
function Redis:stop() finish(self, "TERM", 5) end

-- SIGKILL. The kernel closes its connections.
function Redis:kill() finish(self, "KILL", 5) end

-- SIGSTOP: connections stay open, nothing answers.
function Redis:suspend() assert(sys.kill(self.pid, "STOP")) end

function Redis:resume() assert(sys.kill(self.pid, "CONT")) end

-- Starts it anew on the same port, after stop or kill (or stops it first).
function Redis:restart()
  self:stop()
  local ok, message = self:launch()
  if not ok then
    error("redis-server did not start again:\n" .. message, 2)
  end
end

-- redis-cli with these arguments -> its output without the last newline
function Redis:cli(...)
  local argv = { "redis-cli", "-h", "127.0.0.1", "-p", self.port, ... }
  local child = Process.start(argv, { env = { REDISCLI_AUTH = self.password } })
  local code, out, err = child:wait(10)
  if code ~= 0 then
    error(("redis-cli %s: %s\n%s%s"):format(table.concat({ ... }, " "), code, out, err), 2)
  end
  return (out:gsub("\n$", ""))
end

-- Has it listen on this address alone.
function Redis:listen_on(address)
  local code, out, err = Process.start({ "redis-cli", "-s", self.path, "CONFIG", "SET", "bind", address }, {
    env = { REDISCLI_AUTH = self.password },
  }):wait(10)
  if code ~= 0 then
    error(("CONFIG SET bind %s: %s\n%s%s"):format(address, code, out, err), 2)
  end
end

-- How many clients are connected, not counting the redis-cli that asks.
function Redis:client_count()
  local _, count = self:cli("CLIENT", "LIST"):gsub("[^\n]+", "")
  return count - 1
end

-- How many connections are subscribed to this channel or to this very pattern? (exact = channel)
function Redis:subscribers(channel)
  return tonumber(self:cli("PUBSUB", "NUMSUB", channel):match("(%d+)%s*$"))
end

return Redis
