--- Timers in order of their time: a binary heap whose entries know their place, so that one can be withdrawn.
-- Must not know: clocks, coroutines, what an entry is for.

local timers = {}

local function before(a, b)
  if a.at ~= b.at then
    return a.at < b.at
  end
  return a.sequence < b.sequence   -- entries of the same time keep the order in which they came
end

local function place(heap, entry, index)
  heap[index] = entry
  entry.index = index
end

local function rise(heap, entry, index)
  while index > 1 do
    local above = (index - index % 2) / 2
    local parent = heap[above]
    if not before(entry, parent) then
      break
    end
    place(heap, parent, index)
    index = above
  end
  place(heap, entry, index)
end

local function sink(heap, entry, index)
  local size = heap.size
  while true do
    local below = index * 2
    if below > size then
      break
    end
    if below < size and before(heap[below + 1], heap[below]) then
      below = below + 1
    end
    local child = heap[below]
    if not before(child, entry) then
      break
    end
    place(heap, child, index)
    index = below
  end
  place(heap, entry, index)
end

--- An empty heap. `heap[1]` is the next entry, or nil.
function timers.new()
  return { size = 0, sequence = 0 }
end

--- Puts `entry` in for the time `at`; sets its fields `at`, `sequence` and `index`.
function timers.add(heap, entry, at)
  heap.sequence = heap.sequence + 1
  heap.size = heap.size + 1
  entry.at = at
  entry.sequence = heap.sequence
  rise(heap, entry, heap.size)
end

--- Takes `entry` out. False where it is not in (any more).
function timers.remove(heap, entry)
  local index = entry.index
  if not index then
    return false
  end
  local last = heap[heap.size]
  heap[heap.size] = nil
  heap.size = heap.size - 1
  entry.index = nil
  if last ~= entry then
    sink(heap, last, index)
    rise(heap, last, last.index)
  end
  return true
end

return timers
