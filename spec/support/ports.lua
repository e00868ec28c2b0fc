-- Ports for what is started here. Not the kernel's choice (port 0): it gives the same ones to whoever connects, so that
-- a broker that is down for a restart could find its port taken.

local sys = require "spec_sys"

-- Below those that Linux gives away by itself, from 32768 on.
local FIRST, COUNT = 10240, 22528

-- Suites run side by side: each begins elsewhere.
local turn = sys.getpid() * 7919

-- A port that nothing listens on at the moment. This process gives it again after thousands of others; another one that
-- comes by while it is free may be given it, too.
local function free_port()
  for _ = 1, COUNT do
    turn = (turn + 1) % COUNT
    local fd, port = sys.listen(FIRST + turn)
    if fd then
      sys.close(fd)
      return port
    end
  end
  error(("no port is free from %d to %d"):format(FIRST, FIRST + COUNT - 1), 2)
end

return { free_port = free_port }
