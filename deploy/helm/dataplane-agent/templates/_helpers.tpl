{{- define "dataplane-agent.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* 63 less the longest suffix that an object adds: "-recording", "-instances". */}}
{{- define "dataplane-agent.fullname" -}}
{{- $name := .Values.nameOverride | default .Chart.Name -}}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $full | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "dataplane-agent.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace -}}
{{- end -}}

{{- define "dataplane-agent.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dataplane-agent.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "dataplane-agent.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/component: metrics
app.kubernetes.io/part-of: {{ include "dataplane-agent.name" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{ include "dataplane-agent.selectorLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "dataplane-agent.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "dataplane-agent.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{- define "dataplane-agent.image" -}}
{{- $repository := required "image.repository: where the image of dataplane-agent is; there is no public one" .Values.image.repository -}}
{{- with (.Values.global.imageRegistry | default .Values.image.registry) }}{{ . }}/{{ end -}}
{{- $repository -}}
{{- if .Values.image.digest -}}@{{ .Values.image.digest }}
{{- else -}}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Kubernetes-style maps, and plain names as other charts take them. */}}
{{- define "dataplane-agent.imagePullSecrets" -}}
{{- range concat (.Values.global.imagePullSecrets | default list) .Values.imagePullSecrets }}
- name: {{ kindIs "map" . | ternary (get (kindIs "map" . | ternary . dict) "name") . }}
{{- end }}
{{- end -}}

{{/* Whether the node's Open vSwitch or ovn-controller is asked: "true" or nothing. */}}
{{- define "dataplane-agent.asksDaemons" -}}
{{- $ovs := .Values.config.ovs | default dict -}}
{{- $ovn := .Values.config.ovn | default dict -}}
{{- $off := and (eq (toString $ovs.enabled) "false") (eq (toString $ovn.enabled) "false") -}}
{{- if or (not $off) (contains "unix:" (toJson $ovn)) -}}true{{- end -}}
{{- end -}}

{{/* Whether named namespaces are entered: "true" or nothing. */}}
{{- define "dataplane-agent.entersNamespaces" -}}
{{- $namespaces := .Values.config.namespaces | default dict -}}
{{- if not (and (hasKey $namespaces "include") (empty $namespaces.include)) -}}true{{- end -}}
{{- end -}}

{{/* User and capabilities by profile and by what config leaves on, under what securityContext says.
Kubernetes gives added capabilities to nobody but root: a process of another user begins without
them, because they are not ambient. So it is root with all dropped but these, or a user with none.
Without the prefix CAP_: with it the API server refuses SYS_ADMIN beside
allowPrivilegeEscalation: false, which root does not need. */}}
{{- define "dataplane-agent.securityContext" -}}
{{- $chosen := dict -}}
{{- if eq .Values.profile "least" -}}
{{- $chosen = dict "runAsUser" 65532 "runAsGroup" 65532 "runAsNonRoot" true "capabilities" (dict "drop" (list "ALL")) -}}
{{- else -}}
{{- $add := list "NET_ADMIN" -}}
{{- if include "dataplane-agent.asksDaemons" . }}{{ $add = append $add "DAC_OVERRIDE" }}{{ end -}}
{{- if include "dataplane-agent.entersNamespaces" . -}}
{{- $add = append $add "SYS_ADMIN" -}}
{{- if eq .Values.profile "full" }}{{ $add = append $add "SYS_PTRACE" }}{{ end -}}
{{- end -}}
{{- $chosen = dict "runAsUser" 0 "runAsGroup" 0 "runAsNonRoot" false "capabilities" (dict "drop" (list "ALL") "add" $add) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $chosen (deepCopy .Values.securityContext)) -}}
{{- end -}}

{{- define "dataplane-agent.hostPID" -}}
{{- $names := and (eq .Values.profile "full") (include "dataplane-agent.entersNamespaces" .) -}}
{{- $wanted := and (ne .Values.profile "least") (or $names (include "dataplane-agent.asksDaemons" .)) -}}
{{- kindIs "bool" .Values.hostPID | ternary .Values.hostPID (not (empty $wanted)) -}}
{{- end -}}

{{/* "s" where the agent speaks TLS, else nothing. */}}
{{- define "dataplane-agent.secure" -}}
{{- if and .Values.webConfig.existingSecret .Values.webConfig.tls }}s{{ end -}}
{{- end -}}

{{/* Of a probe: (dict "root" $ "probe" .Values.livenessProbe "path" "/healthz"). */}}
{{- define "dataplane-agent.probe" -}}
{{- $web := .root.Values.webConfig -}}
{{- $given := .probe.httpGet | default dict -}}
{{- if and $web.existingSecret $web.authentication (not $given.httpHeaders) -}}
tcpSocket:
  port: {{ .root.Values.portName }}
{{- else -}}
{{- $scheme := printf "http%s" (include "dataplane-agent.secure" .root) -}}
{{- $own := dict "path" .path "port" .root.Values.portName "scheme" (upper $scheme) -}}
httpGet:
  {{- toYaml (mergeOverwrite $own (deepCopy $given)) | nindent 2 }}
{{- end }}
{{ toYaml (omit .probe "httpGet") }}
{{- end -}}

{{- define "dataplane-agent.telemetryPath" -}}
{{- get (.Values.config.web | default dict) "telemetry_path" | default "/metrics" -}}
{{- end -}}

{{/* Of an endpoint: (dict "root" $ "job" ... "interval" ... "scrapeTimeout" ... "params" ...). */}}
{{- define "dataplane-agent.endpoint" -}}
{{- $monitor := .root.Values.prometheus.podMonitor -}}
- port: {{ .root.Values.portName }}
  path: {{ include "dataplane-agent.telemetryPath" .root }}
  scheme: {{ $monitor.scheme | default (printf "http%s" (include "dataplane-agent.secure" .root)) }}
  {{- with .interval }}
  interval: {{ . }}
  {{- end }}
  {{- with .scrapeTimeout }}
  scrapeTimeout: {{ . }}
  {{- end }}
  {{- with .params }}
  params:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- range $key := list "tlsConfig" "basicAuth" "authorization" }}
  {{- with get $monitor $key }}
  {{ $key }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- end }}
  {{- with $monitor.proxyUrl }}
  proxyUrl: {{ . }}
  {{- end }}
  relabelings:
    - action: replace
      sourceLabels: [__meta_kubernetes_pod_node_name]
      targetLabel: instance
    - action: replace
      targetLabel: job
      replacement: {{ .job }}
    - action: labeldrop
      regex: pod|container
    {{- with $monitor.relabelings }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with $monitor.metricRelabelings }}
  metricRelabelings:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Files of a Secret are root's: 0400 for root, 0444 for the user of profile least, who is in no
group of theirs (fsGroup would own them, where podSecurityContext says one). */}}
{{- define "dataplane-agent.secretMode" -}}
{{- ne .Values.profile "least" | ternary 256 292 -}}
{{- end -}}
