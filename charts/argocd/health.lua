-- Argo CD's health of a BenchmarkCampaign, from its conditions. It goes into the ConfigMap argocd-cm under
-- resource.customizations.health.teebench.dev_BenchmarkCampaign; docs/install.md says how.
local function condition(name)
  for _, found in ipairs(obj.status and obj.status.conditions or {}) do
    if found.type == name then
      return found
    end
  end
end

-- What the operator has not looked at since the spec changed says nothing of it.
local function is_current(found)
  return found.observedGeneration == nil or found.observedGeneration == obj.metadata.generation
end

local succeeded, stalled = condition("Succeeded"), condition("Stalled")
if succeeded == nil or not is_current(succeeded) then
  return {status = "Progressing", message = "the operator has not looked at it yet"}
end
local message = succeeded.reason
if succeeded.message ~= nil and succeeded.message ~= "" then
  message = message .. ": " .. succeeded.message
end
if succeeded.status == "True" then
  return {status = "Healthy", message = message}
end
if succeeded.status == "False" then
  return {status = "Degraded", message = message}
end
if stalled ~= nil and stalled.status == "True" then
  return {status = "Degraded", message = stalled.reason .. ": " .. (stalled.message or "")}
end
if succeeded.reason == "Suspended" then
  return {status = "Suspended", message = message}
end
return {status = "Progressing", message = message}
