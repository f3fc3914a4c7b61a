{{/* What the operator may do where campaigns run. Each rule has its reason; none names Secrets. */}}
{{- define "teebench.campaignRules" -}}
# Campaigns are its input; it never writes their specs.
- apiGroups: [teebench.dev]
  resources: [benchmarkcampaigns]
  verbs: [get, list, watch]
# It says in their status how far they are and what they found.
- apiGroups: [teebench.dev]
  resources: [benchmarkcampaigns/status]
  verbs: [patch]
# Runs show people each attempt; they go when the campaign's time to live has passed.
- apiGroups: [teebench.dev]
  resources: [benchmarkruns]
  verbs: [get, list, watch, create, patch, delete]
# Their status says what came of the attempt.
- apiGroups: [teebench.dev]
  resources: [benchmarkruns/status]
  verbs: [patch]
# Router policies are copied into plans.
- apiGroups: [teebench.dev]
  resources: [routerpolicies]
  verbs: [get, list, watch]
# Their status says whether they are accepted, and how many campaigns use them.
- apiGroups: [teebench.dev]
  resources: [routerpolicies/status]
  verbs: [patch]
# Each arm's servers are a StatefulSet, gateways before them a Deployment; both are made and deleted, never scaled.
- apiGroups: [apps]
  resources: [statefulsets, deployments]
  verbs: [get, list, watch, create, patch, delete]
# Downloads of weights and load generators are Jobs.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
# Servers and gateways have headless Services; an attempt's inputs and a campaign's summary are ConfigMaps.
- apiGroups: [""]
  resources: [services, configmaps]
  verbs: [get, list, watch, create, patch, delete]
# Readiness, addresses and restarts of servers are read from their pods, and why a pod does not start.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
# A claim that is not there, or that several machines cannot share, is told before anything starts.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get]
# The last words of a container that failed go into the run's condition.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
# Events tell people what it did and why; a series of the same Event is one that is patched.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
