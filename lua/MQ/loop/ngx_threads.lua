--- Coroutines in nginx that no request owns.
-- Must not know: the port, time, clients.
--
-- A light thread belongs to the request or timer that has made it, and what it allocates in nginx (a connection to a
-- database, each coroutine.create) is freed when that ends. So MQ's coroutines run in timers, the *carriers*, each of
-- which ends after a number of them. A *job* is what spawn makes of a function: one light thread runs one after
-- another.

local compat = require "MQ.compat"
local core = require "MQ.core"
local ngx = package.loaded.ngx
local semaphore = require "ngx.semaphore"

local running, unpack = coroutine.running, compat.unpack

local FOREVER = 1e6   -- seconds: ngx.semaphore counts milliseconds in an int
local RETRY = 1       -- seconds after which a timer that nginx has not begun is asked for again
local JOBS = 1000     -- of one carrier
local IDLE = 64       -- light threads that wait for a job

local threads = { FOREVER = FOREVER, RETRY = RETRY }

--- Returns what has fn run by a timer, soon, and once where it is called again before that. nginx drops a timer that is
-- one too many (lua_max_running_timers), and logs it: true where that has happened, and another one is asked for.
function threads.starter(fn)
  local asked

  local function begin()
    asked = nil
    fn()
  end

  return function()
    local now, before = core.now(), asked
    if not asked or now - asked >= RETRY then
      asked = now
      local ok, err = ngx.timer.at(0, begin)
      if not ok then
        ngx.log(ngx.ERR, "MQ gets no timer, and tries again: ", err)
      end
      return before ~= nil
    end
  end
end

local current = setmetatable({}, { __mode = "k" })   -- light thread → the job that it runs

--- Whom park and unpark mean by a coroutine: the job that it runs, or itself.
function threads.identity(co)
  return co and (current[co] or co)
end

--- Gives `host` spawn. `semaphores` (job → semaphore) gets what wakes a job. Returns check(), which sees to it that a
-- timer begins, true where it has to be called again; and leave(), which ends what waits for jobs.
function threads.attach(host, semaphores)
  local queue, first, last = {}, 1, 0
  local available = semaphore.new(0)   -- idle light threads wait for it
  local idle = 0                       -- how many of them have not been called
  local wanted = 0                     -- how many the carrier has to make
  local carrier, carriers = nil, {}    -- the one that makes them, and all that have not ended
  local start                          -- forward: one carrier may have to start the next

  local function traced(err)
    return { err = err, traceback = debug.traceback(tostring(err), 2) }
  end

  local function run(job)
    local ok, failure = xpcall(function()
      job.fn(unpack(job, 1, job.n))
    end, traced)
    if not ok then
      host.on_error(job, failure.traceback, failure.err)
    end
  end

  local function next_job()
    local job = queue[first]
    if job then
      queue[first] = nil
      first = first + 1
    end
    return job
  end

  local function retire(self)
    if carrier == self then
      carrier = nil
    end
    self.wakes:post(1)
  end

  -- The body of a light thread. One that has been called takes a job even where its carrier has run enough of them:
  -- nobody else has been called for that.
  local function work(self)
    local thread, wakes = running(), semaphore.new(0)
    repeat
      local job = next_job()
      if not job then
        if idle >= IDLE or ngx.worker.exiting() then
          return
        end
        idle = idle + 1
        if not available:wait(FOREVER) then
          idle = idle - 1
        end
        job = next_job()
      end
      if job then
        self.left = self.left - 1
        if self.left == 0 then
          retire(self)
        end
        current[thread], semaphores[job] = job, wakes
        run(job)
        current[thread] = nil
      end
    until self.left <= 0
  end

  local function new()
    return { left = JOBS, wakes = semaphore.new(0) }
  end

  local function carry()
    if carrier then
      return   -- it has begun late, and another one meanwhile
    end
    local self = new()
    carrier, carriers[self] = self, true
    repeat
      while wanted > 0 and self.left > 0 do
        wanted = wanted - 1
        ngx.thread.spawn(work, self)
      end
      local over = self.left <= 0 or ngx.worker.exiting()
      if not over then
        self.wakes:wait(FOREVER)
      end
    until over
    retire(self)
    carriers[self] = nil
    if wanted > 0 then
      start()
    end
  end

  start = threads.starter(carry)

  function host.spawn(fn, ...)
    local job = compat.pack(...)
    job.fn = fn
    last = last + 1
    queue[last] = job
    if idle > 0 then
      idle = idle - 1
      available:post(1)
    else
      wanted = wanted + 1
      if carrier then
        carrier.wakes:post(1)
      else
        start()
      end
    end
    return job
  end

  local function check()
    if wanted > 0 and not carrier then
      if start() then
        -- What waits in the carriers that there are may need these to go on: rather in the caller's timer than never.
        local self = new()
        while wanted > 0 do
          wanted = wanted - 1
          ngx.thread.spawn(work, self)
        end
      end
      return wanted > 0
    end
  end

  local function leave()
    while idle > 0 do
      idle = idle - 1
      available:post(1)
    end
    for each in pairs(carriers) do
      each.wakes:post(1)
    end
  end

  return check, leave
end

return threads
