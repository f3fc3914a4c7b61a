{{/* Names, labels and what is derived from the values. Names do not carry the release's: one operator serves a namespace,
and `teebench fetch` finds the results service by its name. */}}

{{/* Labels of an object; takes a dict of `root` and `component`. */}}
{{- define "teebench.labels" -}}
{{ include "teebench.selectorLabels" . }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The labels that select pods of a component, the same that the operator gives to what it creates. */}}
{{- define "teebench.selectorLabels" -}}
app.kubernetes.io/name: teebench
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "teebench.image" -}}
{{- with .Values.image }}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* Objects of the cluster carry the release's namespace in their names, so that several operators can stand beside each
other. */}}
{{- define "teebench.clusterName" -}}
teebench-operator-{{ .Release.Namespace }}
{{- end }}

{{/* JSON list of the namespaces in which campaigns run. */}}
{{- define "teebench.campaignNamespaces" -}}
{{ .Values.campaignNamespaces | default (list .Release.Namespace) | uniq | toJson }}
{{- end }}

{{- define "teebench.replicas" -}}
{{- if not (kindIs "invalid" .Values.replicas) }}{{ .Values.replicas }}{{ else if .Values.store.url }}2{{ else }}1{{ end }}
{{- end }}

{{- define "teebench.resultsClaim" -}}
{{ .Values.store.volume.existingClaim | default "teebench-results" }}
{{- end }}

{{/* What the restricted Pod Security Standard asks of a container. */}}
{{- define "teebench.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What it asks of a pod; the group owns the volume for results. */}}
{{- define "teebench.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 2000
runAsGroup: 2000
fsGroup: 2000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Combinations that a schema cannot refuse. */}}
{{- define "teebench.checkValues" -}}
{{- if and (not .Values.store.url) (gt (int (include "teebench.replicas" .)) 1) }}
{{- fail "replicas: give 1, or an object store in store.url; a volume has one writer" }}
{{- end }}
{{- if and .Values.store.url (not .Values.results.tlsSecret) }}
{{- fail "results.tlsSecret: name a Secret with tls.crt, tls.key and ca.crt; without a volume the operator cannot keep a certificate of its own" }}
{{- end }}
{{- end }}
