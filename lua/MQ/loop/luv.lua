--- MQ in a program that luv's loop runs: MQ.use "luv".
-- Must not know: clients, messages, protocols.
--
-- What is ready runs in an idle handle, which also keeps libuv from sleeping. The program runs the loop (uv.run); where
-- it does not, a call of MQ in the main chunk does, until it has its answer.

local uv = require "luv"

local loop = { name = "luv" }

local idle = uv.new_idle()

local run, any   -- forward: the idle handle starts what needs it

run, any = require("MQ.ready").new(loop, function()
  if not idle:is_active() then
    idle:start(function()
      run()
      if not any() then
        idle:stop()
      end
    end)
  end
end)

require("MQ.loop.uv").complete(loop, uv)

function loop.run_until(done)
  while not done() do
    if uv.loop_mode() then
      return nil, "luv's loop runs and cannot run inside itself: wait in a coroutine, not in a callback of luv"
    elseif not uv.run("once") and not done() then
      return false
    end
  end
  return true
end

return loop
