-- The scenario as a plugin of Neovim: a coroutine, whose callbacks may use Neovim's functions.

local vim = rawget(_G, "vim")
local MQ = require "MQ"

local function every(seconds, fn)
  local timer = vim.loop.new_timer()
  timer:start(seconds * 1000, seconds * 1000, fn)
  return function()
    timer:close()
  end
end

local function sleep(seconds)
  vim.api.nvim_buf_line_count(0)   -- raises where Neovim's functions may not be called
  MQ.loop.sleep(seconds)
end

MQ.loop.spawn(function()
  require "spec.hosts.scenario" { sleep = sleep, every = every }
  vim.cmd "qall!"
end)
