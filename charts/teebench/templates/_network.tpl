{{/* Peers and rules that NetworkPolicies share. */}}

{{/* Egress peers for every address but a list of them; takes the list. */}}
{{- define "teebench.addressesExcept" -}}
{{- $v4 := list }}
{{- $v6 := list }}
{{- range . }}
{{- if contains ":" . }}{{ $v6 = append $v6 . }}{{ else }}{{ $v4 = append $v4 . }}{{ end }}
{{- end }}
- ipBlock:
    cidr: 0.0.0.0/0
    {{- with $v4 }}
    except:
    {{- toYaml . | nindent 4 }}
    {{- end }}
- ipBlock:
    cidr: ::/0
    {{- with $v6 }}
    except:
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}

{{/* Peers that are pods of this namespace's campaigns; takes their components. */}}
{{- define "teebench.pods" -}}
{{- range . }}
- podSelector:
    matchLabels:
      {{- include "teebench.selectorLabels" (dict "component" .) | nindent 6 }}
{{- end }}
{{- end }}

{{/* Peers that are pods of all campaigns' namespaces; takes a dict of `root` and `component`. */}}
{{- define "teebench.podsOfCampaigns" -}}
- namespaceSelector:
    {{- if .root.Values.clusterWide }} {}
    {{- else }}
    matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: In
      values:
      {{- include "teebench.campaignNamespaces" .root | fromJsonArray | toYaml | nindent 6 }}
    {{- end }}
  podSelector:
    matchLabels:
      {{- include "teebench.selectorLabels" . | nindent 6 }}
{{- end }}

{{/* Peers that are the operator, seen from another namespace. */}}
{{- define "teebench.operatorPods" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .Release.Namespace }}
  podSelector:
    matchLabels:
      {{- include "teebench.selectorLabels" (dict "component" "operator") | nindent 6 }}
{{- end }}

{{/* Ports of a rule; takes a list of numbers. */}}
{{- define "teebench.ports" -}}
{{- range . }}
- port: {{ . }}
  protocol: TCP
{{- end }}
{{- end }}

{{/* An egress rule to the cluster's DNS. */}}
{{- define "teebench.dnsEgress" -}}
- to:
  {{- toYaml .Values.networkPolicies.dns.peers | nindent 2 }}
  ports:
  - port: 53
    protocol: UDP
  - port: 53
    protocol: TCP
{{- end }}

{{/* Egress rules of a download: names, and the model hub outside the cluster. */}}
{{- define "teebench.downloadEgress" -}}
{{- with .Values.networkPolicies }}
{{- include "teebench.dnsEgress" $ }}
- to:
  {{- include "teebench.addressesExcept" (concat .metadataAddresses .downloads.exceptAddresses | uniq) | trim | nindent 2 }}
  ports:
  {{- include "teebench.ports" .downloads.ports | trim | nindent 2 }}
{{- with .downloads.egress }}
{{ toYaml . }}
{{- end }}
{{- end }}
{{- end }}
