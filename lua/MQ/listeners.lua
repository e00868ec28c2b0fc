--- The callbacks of one subscription, in the order in which they came. To add one, and to take one off, costs the same
-- however many there are.
-- Must not know: clients, messages, what else a listener is.
--
-- Whoever goes through `list` up to the `last` that he found sees those who were there when he began, less those who
-- have been taken off since: one that is taken off leaves `false` in its place, one that is added comes behind `last`,
-- and when most places are empty a new list takes over, which leaves the old one as it is.

local listeners = {}

--- No listener yet: { list, last (its length, with the empty places), count }.
function listeners.new()
  return { list = {}, last = 0, count = 0, by_callback = {} }
end

--- Adds a listener; `callback` is its field of that name.
function listeners.add(set, listener)
  local last = set.last + 1
  set.last, set.count = last, set.count + 1
  set.list[last] = listener
  listener.index = last
  local same = set.by_callback[listener.callback]
  if same then
    same[#same + 1] = listener
  else
    set.by_callback[listener.callback] = { listener }
  end
end

--- How many have that callback.
function listeners.having(set, callback)
  local same = set.by_callback[callback]
  return same and #same or 0
end

--- All, as a list of its own.
function listeners.all(set)
  local all = {}
  for index = 1, set.last do
    all[#all + 1] = set.list[index] or nil
  end
  return all
end

local function close_up(set)
  local list = listeners.all(set)
  for index, listener in ipairs(list) do
    listener.index = index
  end
  set.list, set.last = list, #list
end

--- Takes off those with that callback. Returns them, as a list.
function listeners.remove(set, callback)
  local same = set.by_callback[callback] or {}
  set.by_callback[callback] = nil
  for _, listener in ipairs(same) do
    set.list[listener.index] = false
  end
  set.count = set.count - #same
  if set.count * 2 < set.last then
    close_up(set)
  end
  return same
end

return listeners
