--- The cf framework's `json`, on the core's encoder and decoder.
-- Must not know: how JSON is written or read.

local core = require "MQ.core"

local json = {}

--- What null is decoded to, and encoded from.
json.null = core.json_null

--- An array that is encoded as one though it is empty.
json.empty_array = core.json_array {}

--- Marks a table as an array, so that it is encoded as one even when it is empty.
json.array = core.json_array

--- The JSON of a value; nil and what is wrong where JSON cannot hold it.
function json.encode(value)
  local ok, text = pcall(core.json_encode, value)
  if ok then
    return text
  end
  return nil, text
end

--- The value of a JSON text; nil and what is wrong where it is none.
function json.decode(text)
  if type(text) ~= "string" then
    return nil, ("expected a string of JSON (got a %s)"):format(type(text))
  end
  return core.json_decode(text)
end

return json
