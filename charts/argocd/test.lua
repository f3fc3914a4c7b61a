-- Runs health.lua as Argo CD does, with the object as the global `obj`, over campaigns in every state.
local function campaign(conditions)
  return {metadata = {generation = 3}, status = conditions and {conditions = conditions}}
end

local function succeeded(status, reason, generation)
  return {type = "Succeeded", status = status, reason = reason, message = "a sentence", observedGeneration = generation or 3}
end

local stalled = {type = "Stalled", status = "True", reason = "ReconcileFailed", message = "the store refuses"}
local not_stalled = {type = "Stalled", status = "False", reason = "Progressing", message = ""}

local cases = {
  {"new", campaign(nil), "Progressing", "not looked"},
  {"seen before its spec changed", campaign({succeeded("Unknown", "Suspended", 2)}), "Progressing", "not looked"},
  {"waits for its turn", campaign({not_stalled, succeeded("Unknown", "Queued")}), "Progressing", "Queued: a sentence"},
  {"runs", campaign({not_stalled, succeeded("Unknown", "Progressing")}), "Progressing", "Progressing"},
  {"is suspended", campaign({succeeded("Unknown", "Suspended")}), "Suspended", "Suspended"},
  {"stalls", campaign({succeeded("Unknown", "Progressing"), stalled}), "Degraded", "the store refuses"},
  {"is completed", campaign({succeeded("True", "Completed"), stalled}), "Healthy", "Completed"},
  {"failed", campaign({succeeded("False", "RunFailed")}), "Degraded", "RunFailed"},
  {"was cancelled", campaign({succeeded("False", "Cancelled")}), "Degraded", "Cancelled"},
}

local directory = arg[0]:match("^(.*/)") or ""
for _, case in ipairs(cases) do
  local name, object, status, words = table.unpack(case)
  obj = object
  local found = dofile(directory .. "health.lua")
  assert(found.status == status, name .. ": " .. found.status .. ", not " .. status)
  assert(found.message:find(words, 1, true), name .. ": " .. found.message)
end
print(#cases .. " campaigns have the health that they should have")
