-- Runs a script as cf does, in the stand-in of spec/hosts/cf: its main chunk is a coroutine, and nothing of cf is
-- loaded before it asks for it. Ends with the main chunk.

local script = arg[1]
package.path = "spec/hosts/cf/?.lua;" .. package.path
local loop = require "loop"

local co = coroutine.create(function()
  assert(loadfile(script))()
  loop.stop()
end)
local ok, err = coroutine.resume(co)
if not ok then
  io.stderr:write(debug.traceback(co, tostring(err)), "\n")
  os.exit(1)
end
if coroutine.status(co) ~= "dead" then
  loop.run()
end
