--- The table that `make bench` prints: medians, ratios, and each bound beside what was measured.
-- Must not know: how anything is measured, brokers.

local report = {}

local function median(list)
  table.sort(list)
  local middle = math.floor(#list / 2)
  return #list % 2 == 1 and list[middle + 1] or (list[middle] + list[middle + 1]) / 2
end

local function median_of(rounds, side, value)
  local list = {}
  for _, round in ipairs(rounds) do
    local numbers = round[side]
    if numbers and numbers[value] then
      list[#list + 1] = numbers[value]
    end
  end
  return #list > 0 and median(list) or nil
end

-- Between what the middle half of the rounds' own ratios lies, as text: how much a ratio of medians is worth.
local function spread_of(rounds, peer, value)
  local ratios = {}
  for _, round in ipairs(rounds) do
    local our, its = (round.ours or {})[value], (round[peer] or {})[value]
    if our and its then
      ratios[#ratios + 1] = our / its
    end
  end
  if #ratios < 4 then
    return ""
  end
  table.sort(ratios)
  local quarter = math.floor(#ratios / 4)
  return ("%.2f–%.2f"):format(ratios[1 + quarter], ratios[#ratios - quarter])
end

local function pretty(number)
  if not number then
    return "–"
  elseif number < 1000 then
    return ("%.3g"):format(number)
  end
  local text = ("%d"):format(math.floor(number + 0.5))
  repeat
    local grouped, n = text:gsub("^(%d+)(%d%d%d)", "%1,%2")
    text = grouped
  until n == 0
  return text
end

-- The bounds as text, and what became of them: "" where there are none.
local function judge(row, our, ratio)
  local bounds, known, met = {}, true, true
  local function bound(text, number, least, most)
    bounds[#bounds + 1] = text
    known = known and number ~= nil
    met = met and known and (not least or number >= least) and (not most or number <= most)
  end
  if row.at_least then bound(("≥ %g ×"):format(row.at_least), ratio, row.at_least) end
  if row.at_most then bound(("≤ %g ×"):format(row.at_most), ratio, nil, row.at_most) end
  if row.floor then bound("≥ " .. pretty(row.floor), our, row.floor) end
  if row.ceiling then bound(("≤ %g"):format(row.ceiling), our, nil, row.ceiling) end
  if #bounds == 0 then
    return "", ""
  end
  return table.concat(bounds, ", "), not known and "not run" or met and "ok" or "MISSED"
end

--- The first line of what a shell command prints.
function report.first_line(command)
  local pipe = io.popen(command .. " 2>&1")
  local line = pipe:read("*l") or "?"
  pipe:close()
  return line
end

--- The machine, the Lua and the compiler, in a line; `versions` says which broker and peers.
function report.machine(versions, runs)
  local model, cores = "?", 0
  for line in io.lines("/proc/cpuinfo") do
    model = line:match("^model name%s*:%s*(.+)") or model
    cores = cores + (line:match("^processor") and 1 or 0)
  end
  local jit = rawget(_G, "jit")
  return ("%s, %d cores; %s; %s; %s; %s; medians of %d interleaved rounds"):format(
    model, cores, report.first_line("uname -sr"), jit and jit.version or _VERSION, versions,
    report.first_line("rustc --version"):match("rustc %S+") or "rustc ?", runs)
end

--- rows: { bench, value, unit, peer, at_least and at_most (bound the ratio to the peer), floor and ceiling (bound our
-- number) }; measured: bench -> its rounds, each side -> value -> number.
-- -> the table as Markdown, how many bounds were missed.
function report.table(rows, peer_names, measured)
  local lines, missed = {}, 0
  lines[#lines + 1] = "| bench | what | peer | its number | MQ | ratio | middle half | must reach | |"
  lines[#lines + 1] = "| --- | --- | --- | ---: | ---: | ---: | ---: | --- | --- |"
  for _, row in ipairs(rows) do
    local rounds = measured[row.bench]
    if rounds then
      local our = median_of(rounds, "ours", row.value)
      local its = row.peer and median_of(rounds, row.peer, row.value)
      local ratio = our and its and our / its
      local bounds, verdict = judge(row, our, ratio)
      missed = missed + (verdict == "MISSED" and 1 or 0)
      lines[#lines + 1] = ("| %s | %s | %s | %s | %s | %s | %s | %s | %s |"):format(row.bench, row.unit,
        peer_names[row.peer] or row.peer or "", its and pretty(its) or "", pretty(our),
        ratio and ("%.2f"):format(ratio) or "", ratio and spread_of(rounds, row.peer, row.value) or "", bounds, verdict)
    end
  end
  return table.concat(lines, "\n"), missed
end

return report
