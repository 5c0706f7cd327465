{{/* The name of everything. */}}
{{- define "rtunnel.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* What Services and policies select pods by. */}}
{{- define "rtunnel.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "rtunnel.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{ include "rtunnel.selector" . }}
app.kubernetes.io/part-of: rtunnel
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The Secret with the rules. */}}
{{- define "rtunnel.routes" -}}
{{- default (include "rtunnel.name" .) .Values.existingRoutesSecret }}
{{- end }}

{{/* The hosts of an Ingress or HTTPRoute, one in a line. */}}
{{- define "rtunnel.hosts" -}}
{{- $hosts := default (keys .Values.routes | sortAlpha) .hosts }}
{{- if not $hosts }}{{ fail "no host: name your hosts in \"routes\", or those of the Ingress in \"ingress.hosts\" (\"gateway.hostnames\")" }}{{ end }}
{{- join "\n" $hosts }}
{{- end }}
