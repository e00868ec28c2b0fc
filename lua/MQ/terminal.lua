--- What a person sees who watches: whether there is a terminal, whether it wants colours, a line that changes in place.
-- Must not know: what is shown.

local core = require "MQ.core"

local terminal = {}

--- Whether a descriptor (0, 1, 2) is a terminal. (A shell could say so, too; but Ctrl-C while it runs is lost.)
terminal.is = core.is_terminal

--- Whether to write colours to a descriptor: a terminal's user may have forbidden them (https://no-color.org).
function terminal.colours(fd)
  return (os.getenv("NO_COLOR") or "") == "" and os.getenv("TERM") ~= "dumb" and terminal.is(fd)
end

local shown = false

--- Whether a line that changes in place can be shown: standard error is a terminal that knows how.
function terminal.shows_progress()
  return os.getenv("TERM") ~= "dumb" and terminal.is(2)
end

--- Shows a line on standard error that the next one replaces, where that is possible. A terminal that is too narrow
-- for it shows its beginning: of a line that wraps, only the last part could be replaced.
function terminal.progress(text)
  if terminal.shows_progress() then
    io.stderr:write("\r\27[K\27[?7l", text, "\27[?7h")
    shown = true
  end
end

--- Takes the progress line away, before something else is written.
function terminal.clear()
  if shown then
    io.stderr:write("\r\27[K")
    shown = false
  end
end

return terminal
