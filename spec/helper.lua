-- What the specs need around MQ: servers, peers, child scripts, and waiting for what is true later.
-- busted loads this first (.busted); specs get it by `require "spec.helper"`.
-- Whatever is started here is stopped at the end of the spec file at the latest.

local jit = rawget(_G, "jit")
local lua = jit and "luajit" or "lua" .. _VERSION:sub(5)

local found, sys = pcall(require, "spec_sys")
if not found then
  error(("spec tools for %s are not built: make build spec-tools LUA=%s\n%s"):format(lua, lua, sys), 0)
end

-- Loaded before busted insulates the spec files from each other: a second copy of the modules
-- would take messages from the same port (there is one port to a Lua state).
pcall(require, "MQ.redis")
pcall(require, "MQ.mqtt")
pcall(require, "MQ.stomp")
pcall(require, "MQ.broker")

local ActiveMQ = require "spec.support.activemq"
local Embedded = require "spec.support.embedded"
local Mosquitto = require "spec.support.mosquitto"
local Nginx = require "spec.support.nginx"
local Process = require "spec.support.process"
local RabbitMQ = require "spec.support.rabbitmq"
local Redis = require "spec.support.redis"
local make_certificates = require "spec.support.certificates"
local ports = require "spec.support.ports"

local root = sys.cwd()
local helper = {
  sys = sys,
  lua = lua,                        -- "lua5.4", "luajit"
  interpreter = sys.exe(),
  root = root,
  free_port = ports.free_port,
  -- the search paths of a child interpreter of the same version
  environment = {
    LUA_PATH = ("%s/lua/?.lua;%s/lua/?/init.lua;%s/?.lua;;"):format(root, root, root),
    LUA_CPATH = ("%s/build/%s/?.so;%s/build/%s/spec/?.so;;"):format(root, lua, root, lua),
  },
}

local started, directories, certificates = {}, {}, nil
local shared = {}                   -- name -> a broker that lives until the end of the run

local function keep(thing)
  started[#started + 1] = thing
  return thing
end

local function new_directory()
  return assert(sys.mkdtemp(os.getenv("TMPDIR") or "/tmp", "mq-spec"))
end

-- A new directory, removed with its contents when the file's specs are done.
function helper.tmpdir()
  local dir = new_directory()
  directories[#directories + 1] = dir
  return dir
end

local function remove_directory(dir)
  os.execute("rm -rf '" .. dir .. "'")
end

local function write_file(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  return path
end

-- Ends everything that was started, in reverse order. Specs may call it; the file's end does.
function helper.stop_all()
  while #started > 0 do
    local thing = table.remove(started)
    if thing.discard then
      thing:discard()
    else
      thing:stop()
    end
  end
  while #directories > 0 do
    remove_directory(table.remove(directories))
  end
  certificates = nil
end

-- Ends the shared brokers too. The run's end does.
function helper.stop_shared()
  for name, broker in pairs(shared) do
    shared[name] = nil
    broker:discard()
    remove_directory(broker.dir)
  end
end

-- Paths of a CA, server and client certificates: see support/certificates.lua.
function helper.certificates()
  certificates = certificates or make_certificates(helper.tmpdir())
  return certificates
end

local function with_certificates(options)
  local copy = {}
  for name, value in pairs(options or {}) do
    copy[name] = value
  end
  if copy.tls then
    copy.certificates = helper.certificates()
  end
  return copy
end

-- MQ_SPEC_BROKER=embedded: specs get MQ.broker (support/embedded.lua) where they ask for Redis, mosquitto or RabbitMQ.
helper.embedded = os.getenv("MQ_SPEC_BROKER") == "embedded"

local function start_embedded(kind, dir, options)
  return Embedded.start(dir, {
    kind = kind, options = options or {}, environment = helper.environment, port = options and options.port,
  })
end

-- The embedded broker in the place of "redis", "mosquitto" or "rabbitmq", whatever the environment says.
function helper.embedded_broker(kind, options)
  return keep(start_embedded(kind, helper.tmpdir(), options))
end

-- What `it`, `pending` … mean in a spec file: busted gives each an environment of its own.
local function globals(fn)
  local getfenv = rawget(_G, "getfenv")
  if getfenv then
    return getfenv(fn)
  end
  for index = 1, 255 do
    local name, value = debug.getupvalue(fn, index)
    if name == "_ENV" then
      return value
    end
  end
end

-- For the function of a spec, or of a group of them, that needs what the embedded broker does not have: there it is
-- pending, with the reason.
--   it("…", helper.real_broker_only("keeps sessions on disk", function() … end))
function helper.real_broker_only(reason, body)
  if not helper.embedded then
    return body
  end
  local names = globals(debug.getinfo(2, "f").func)
  return function() names.pending("needs a real broker: " .. reason) end
end

-- A private redis-server that answers. options: config = {["maxmemory"] = "1mb", "user alice …"},
-- password, port, tls = true, client_certificates = true, resp2 = true (does not know HELLO).
-- See support/redis.lua for its fields (port url path pid dir tls_port tls_url certificates) and
-- methods (stop kill suspend resume restart cli client_count subscribers log).
function helper.redis(options)
  if helper.embedded then
    return helper.embedded_broker("redis", options)
  end
  local copy = with_certificates(options)
  if copy.resp2 then
    local config = { 'rename-command HELLO ""' }
    for name, value in pairs(copy.config or {}) do
      config[type(name) == "number" and #config + 1 or name] = value
    end
    copy.config = config
  end
  return keep(Redis.start(helper.tmpdir(), copy))
end

-- A private mosquitto that answers. options: config = {max_packet_size = 1000, "any line"}, users = {name = password},
-- anonymous, acl = {lines}, refuse = {subscribe = {topics}}, persistence, websockets, tls, client_certificates, port.
-- See support/mosquitto.lua for its fields (port url tls_port tls_url ws_port ws_url certificates pid dir) and methods
-- (publish subscribe client_count), support/broker.lua for what every broker can (stop kill suspend resume restart
-- log).
function helper.mosquitto(options)
  if helper.embedded then
    return helper.embedded_broker("mosquitto", options)
  end
  return keep(Mosquitto.start(helper.tmpdir(), with_certificates(options)))
end

-- A private RabbitMQ with MQTT and STOMP, in about 6 s. options: web, tls, plugins, config, port. See
-- support/rabbitmq.lua for its fields (mqtt_port stomp_port url stomp_url web_mqtt_port web_stomp_port stomp_tls_port
-- certificates user password) and method (ctl).
function helper.rabbitmq(options)
  if helper.embedded then
    return helper.embedded_broker("rabbitmq", options)
  end
  return keep(RabbitMQ.start(helper.tmpdir(), options))
end

-- A private ActiveMQ with MQTT and STOMP, in about 2 s. options: users, persistence, port. See support/activemq.lua.
function helper.activemq(options)
  return keep(ActiveMQ.start(helper.tmpdir(), options))
end

-- A private nginx with ngx_lua, which is a LuaJIT. options: workers, worker, http, server, main, env. See
-- support/nginx.lua for its fields (path pid dir) and methods (get request).
function helper.nginx(options)
  return keep(Nginx.start(helper.tmpdir(), options))
end

-- The same as a running process, whose output is that of its workers' standard output.
function helper.start_nginx(options)
  local argv, env = Nginx.prepare(helper.tmpdir(), options)
  return keep(Process.start(argv, { env = env }))
end

local function share(class, options)
  local broker = shared[class.name] or class.start(new_directory(), options)
  shared[class.name] = broker
  if not broker.pid then
    broker:restart()
  end
  return broker
end

-- The one RabbitMQ of the whole run, with all four plugins and TLS: started when first asked for, and again where a
-- spec has ended it; for specs that use names of their own for topics, queues and clients.
function helper.shared_rabbitmq()
  if helper.embedded then
    return share({ name = "embedded rabbitmq", start = function(dir) return start_embedded("rabbitmq", dir) end })
  end
  return share(RabbitMQ, { web = true, tls = true })
end

-- The one ActiveMQ of the whole run: likewise.
function helper.shared_activemq() return share(ActiveMQ) end

-- Starts a Lua script (a file's path, or code) and returns the running process: see
-- support/process.lua for expect, write, kill, wait. options: args, env, cwd, interp, stdin.
function helper.start_lua(script, options)
  options = options or {}
  if script:find("\n", 1, true) or not io.open(script) then
    script = write_file(helper.tmpdir() .. "/script.lua", script)
  elseif script:sub(1, 1) ~= "/" then
    script = root .. "/" .. script
  end
  local env = {}
  for name, value in pairs(helper.environment) do
    env[name] = value
  end
  for name, value in pairs(options.env or {}) do
    env[name] = value == false and false or tostring(value)
  end
  local argv = { options.interp or helper.interpreter, script }
  for _, argument in ipairs(options.args or {}) do
    argv[#argv + 1] = tostring(argument)
  end
  return keep(Process.start(argv, { cwd = options.cwd, env = env, stdin = options.stdin }))
end

-- Runs a script to its end -> exit code (128 + n after signal n; "timeout"), stdout, stderr.
-- options as for start_lua, and timeout (10 seconds unless told).
function helper.run_lua(script, options)
  return helper.start_lua(script, options):wait(options and options.timeout or 10)
end

-- Starts any program and returns the running process.
function helper.start(argv, options)
  return keep(Process.start(argv, options))
end

-- Waits until no other run of the specs uses the standard ports -> a function that gives them back; and the one among
-- those given that somebody else listens on. Two interpreters may be tested at once, and some scripts look for their
-- server where everybody does.
function helper.standard_ports(...)
  -- the pipe keeps `cat`, and so the lock, until the holder is stopped or this process ends
  local holder = Process.start({ "sh", "-c", 'exec 9>>"$0-$(id -u)" && flock 9 && echo locked && exec cat',
    (os.getenv("TMPDIR") or "/tmp") .. "/mq-standard-ports" }, { stdin = true })
  holder:expect("^locked\n$", 120)
  local taken
  for _, port in ipairs { ... } do
    -- what the other run had there may be about to end
    local free = pcall(helper.eventually, function()
      local fd = sys.connect("127.0.0.1", port, 1)
      if fd then
        sys.close(fd)
      end
      return not fd
    end, 5)
    taken = taken or (not free and port or nil)
  end
  return function() holder:stop() end, taken
end

-- Runs any program to its end -> exit code, stdout, stderr.
function helper.run(argv, options)
  options = options or {}
  return keep(Process.start(argv, options)):wait(options.timeout or 10)
end

-- The C host (support/host.c): makes Lua states, runs a script in each, closes them.
function helper.run_host(mode, times, script, options)
  options = options or {}
  local path = write_file(helper.tmpdir() .. "/hosted.lua", script)
  local argv = { root .. "/build/" .. lua .. "/spec/host", mode, times, path }
  for _, argument in ipairs(options.args or {}) do
    argv[#argv + 1] = argument
  end
  return helper.run(argv, { env = helper.environment, timeout = options.timeout or 30 })
end

local function ask(process, name, argument)
  process.stdout = ""
  assert(process:write(argument and name .. " " .. argument .. "\n" or name .. "\n"))
  return process:expect(name .. " ([^\n]*)\n", 5)
end

-- A server that does what `code` says, for each connection in a process of its own, with `conn` and
-- `number` as globals: see support/peer_main.lua. -> object with port, url, count(), log(), stop()
function helper.peer(code, options)
  options = options or {}
  local dir = helper.tmpdir()
  local log = write_file(dir .. "/log", "")
  local process = helper.start_lua("spec/support/peer_main.lua", {
    args = { write_file(dir .. "/peer.lua", code), log, options.port }, stdin = true,
  })
  local peer = { port = tonumber(process:expect("port (%d+)\n")), pid = process.pid }
  peer.url = "redis://127.0.0.1:" .. peer.port
  function peer.count() return tonumber(ask(process, "count")) end
  function peer.log()
    local file = assert(io.open(log))
    local text = file:read("*a")
    file:close()
    return text
  end
  function peer.stop() process:stop() end
  return peer
end

-- A TCP proxy in front of a local port: see support/proxy_main.lua.
-- -> object with port, url, cut stall resume refuse accept delay(seconds), count() -> all, open, bytes
function helper.proxy(target, options)
  local process = helper.start_lua("spec/support/proxy_main.lua", {
    args = { target, options and options.port }, stdin = true,
  })
  local proxy = { port = tonumber(process:expect("port (%d+)\n")), pid = process.pid }
  proxy.url = "redis://127.0.0.1:" .. proxy.port
  for _, name in ipairs { "cut", "stall", "resume", "refuse", "accept", "delay" } do
    proxy[name] = function(argument) ask(process, name, type(argument) ~= "table" and argument) end
  end
  function proxy.count()
    local all, open, bytes = ask(process, "count"):match("(%d+) (%d+) (%d+)")
    return tonumber(all), tonumber(open), tonumber(bytes)
  end
  function proxy.stop() process:stop() end
  return proxy
end

-- Runs `body` in a forked child; its true result (or error) decides. -> the child's exit code or
-- "timeout". The child ends at once afterwards: no finalizer of the parent's state runs in it.
function helper.forked(body, seconds)
  io.stdout:flush()
  io.stderr:flush()
  local pid = assert(sys.fork())
  if pid == 0 then
    local ok, result = xpcall(body, debug.traceback)
    if not ok then
      io.stderr:write(tostring(result), "\n")
      io.stderr:flush()
    end
    sys.exit_now(ok and result and 0 or 1)
  end
  local kind, code = sys.wait(pid, seconds or 10)
  if not kind then
    sys.kill(pid, "KILL")
    sys.wait(pid)
    return "timeout"
  end
  return kind == "signal" and 128 + code or code
end

-- Lets MQ's loop run for a moment, from a coroutine or from the main chunk.
local function turn(host, seconds)
  if host.running() then
    return host.sleep(seconds)
  end
  local over = false
  host.after(seconds, function() over = true end)
  host.run_until(function() return over end)
end

-- Runs MQ's own loop in small steps until condition() is true; its value is returned. Raises after
-- `seconds` (5 unless told).
function helper.eventually(condition, seconds, what)
  local host = require("MQ.loop").current()
  local deadline = sys.now() + (seconds or 5)
  while true do
    local value = condition()
    if value then
      return value
    elseif sys.now() > deadline then
      error(("not true after %g s%s"):format(seconds or 5, what and ": " .. tostring(what) or ""), 2)
    end
    turn(host, 0.005)
  end
end

-- under busted only: run_lua scripts may use this file too
local busted = package.loaded["busted"]
if busted and busted.subscribe then
  busted.subscribe({ "file", "end" }, function()
    helper.stop_all()
    return nil, true
  end)
  busted.subscribe({ "suite", "end" }, function()
    helper.stop_all()
    helper.stop_shared()
    return nil, true
  end)
end

return helper
