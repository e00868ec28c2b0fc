-- A child process whose output is collected: for redis-cli, scripts under test, helpers.
-- It dies with the test run (see spec_sys.c) and is only ever signalled by its own pid.

local sys = require "spec_sys"

local Process = { __name = "process" }
Process.__index = Process

-- argv: program and arguments; opt: cwd, env (table of overrides; "" sets an empty value,
-- false removes the variable), stdin = true for a pipe that :write() feeds.
function Process.start(argv, opt)
  opt = opt or {}
  local command = { "env" }
  for name, value in pairs(opt.env or {}) do
    if value == false then
      table.insert(command, 2, "-u")
      table.insert(command, 3, name)
    else
      command[#command + 1] = name .. "=" .. value
    end
  end
  for _, argument in ipairs(argv) do
    command[#command + 1] = tostring(argument)
  end
  local out, out_write = assert(sys.pipe())
  local err, err_write = assert(sys.pipe())
  local in_read, in_write
  if opt.stdin then
    in_read, in_write = assert(sys.pipe())
  end
  command.cwd, command.stdin, command.stdout, command.stderr = opt.cwd, in_read, out_write, err_write
  local pid, message = sys.spawn(command)
  for _, fd in ipairs { out_write, err_write, in_read } do
    sys.close(fd)
  end
  assert(pid, message)
  return setmetatable({
    pid = pid, name = argv[1], stdout = "", stderr = "",
    pipes = { [out] = "stdout", [err] = "stderr" }, input = in_write,
  }, Process)
end

function Process:write(data)
  return sys.write(self.input, data, 5)
end

function Process:close_input()
  if self.input then
    sys.close(self.input)
    self.input = nil
  end
end

-- Takes what the child has written; true while there may be more. Waits up to `seconds` for it.
function Process:pump(seconds)
  local fds = {}
  for fd in pairs(self.pipes) do
    fds[#fds + 1] = fd
  end
  if #fds == 0 then
    return false
  end
  local readable = assert(sys.poll(fds, {}, seconds))
  for fd in pairs(readable) do
    local name, data = self.pipes[fd], sys.read(fd)
    if not data or data == "" then
      sys.close(fd)
      self.pipes[fd] = nil
    else
      self[name] = self[name] .. data
    end
  end
  return true
end

-- Waits until stdout matches the pattern; returns the captures. Raises at the time limit or when
-- the output ends without it.
function Process:expect(pattern, seconds)
  local deadline = sys.now() + (seconds or 10)
  while not self.stdout:find(pattern) do
    local left = deadline - sys.now()
    if left <= 0 or not self:pump(left) then
      error(("%s: no %q in its output:\n%s%s"):format(self.name, pattern, self.stdout, self.stderr), 2)
    end
  end
  return self.stdout:match(pattern)
end

function Process:kill(signal)
  if self.code == nil then
    return sys.kill(self.pid, signal or "KILL")
  end
end

-- Waits for the end: code (128 + number for a signal), stdout, stderr, CPU seconds, peak KiB.
-- At the time limit the child is killed and the code is "timeout".
function Process:wait(seconds)
  if self.code == nil then
    self:close_input()
    local deadline, late = sys.now() + (seconds or 10), false
    -- its output ends with it, unless a child of its own keeps the pipe
    while next(self.pipes) and sys.now() < deadline do
      self:pump(deadline - sys.now())
    end
    local kind, code, user, system, peak = sys.wait(self.pid, math.max(0, deadline - sys.now()))
    if not kind then
      late = true
      sys.kill(self.pid, "KILL")
      kind, code, user, system, peak = sys.wait(self.pid)
      self:pump(0)
    end
    self:release()
    self.code = late and "timeout" or (kind == "signal" and 128 + code or code)
    self.cpu, self.peak = user + system, peak
  end
  return self.code, self.stdout, self.stderr, self.cpu, self.peak
end

function Process:release()
  for fd in pairs(self.pipes) do
    sys.close(fd)
    self.pipes[fd] = nil
  end
  self:close_input()
end

-- For clean-up: ends it now, whatever state it is in.
function Process:stop()
  if self.code == nil then
    sys.kill(self.pid, "KILL")
    local _, code = sys.wait(self.pid)
    self.code = 128 + (code or 9)
    self:release()
  end
end

return Process
