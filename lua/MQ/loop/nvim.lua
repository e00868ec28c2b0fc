--- MQ in Neovim: on its libuv loop.
-- Must not know: clients, messages, protocols.
--
-- Neovim's functions may not be called from a callback of libuv; so what is ready is run by vim.schedule.

local vim = rawget(_G, "vim")
local uv = vim.uv or vim.loop

local loop = { name = "nvim" }

local run
local scheduled = false

local function turn()
  scheduled = false
  run()
end

run = require("MQ.ready").new(loop, function()
  if not scheduled then
    scheduled = true
    vim.schedule(turn)
  end
end)

require("MQ.loop.uv").complete(loop, uv)

-- How long vim.wait sleeps where no event wakes it: those that it waits for are all events.
local ROUND = 1000

function loop.run_until(done)
  if vim.in_fast_event() then
    return nil, "Neovim cannot wait in a callback of libuv: wrap it in vim.schedule, or wait in a coroutine"
  end
  while not done() do
    local ok, why = vim.wait(2 ^ 31 - 1, done, ROUND)
    if not ok and why == -2 then
      return nil, "interrupted"
    end
  end
  return true
end

return loop
