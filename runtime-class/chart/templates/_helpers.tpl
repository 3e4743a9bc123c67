{{- define "oomwitness.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* A name of 50 bytes at most: room is left for "-uninstall". Long names that begin alike stay apart. */}}
{{- define "oomwitness.short" -}}
{{- if gt (len .) 50 }}{{ printf "%s-%s" (trunc 41 . | trimSuffix "-" | trimSuffix ".") (sha256sum . | trunc 8) }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{- /* The name of what the release has in its namespace. A Service's name may have no dot. */}}
{{- define "oomwitness.fullname" -}}
{{- $name := include "oomwitness.name" . }}
{{- $both := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- include "oomwitness.short" (.Values.fullnameOverride | default $both | replace "." "-") }}
{{- end }}

{{- /* Names of cluster-wide objects. Neither part has a dot: two releases do not share a name. */}}
{{- define "oomwitness.clusterName" -}}
{{- include "oomwitness.short" (printf "%s.%s" .Release.Namespace (include "oomwitness.fullname" .)) }}
{{- end }}

{{- define "oomwitness.labels" -}}
app.kubernetes.io/name: {{ include "oomwitness.name" . | toYaml }}
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "oomwitness.selector" -}}
app.kubernetes.io/name: {{ include "oomwitness.name" . | toYaml }}
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
app.kubernetes.io/component: node
{{- end }}

{{- define "oomwitness.agentSelector" -}}
app.kubernetes.io/name: {{ include "oomwitness.name" . | toYaml }}
app.kubernetes.io/instance: {{ .Release.Name | toYaml }}
app.kubernetes.io/component: agent
{{- end }}

{{- /* "true" where the agent runs: asked for, or the only part that is left. */}}
{{- define "oomwitness.agentEnabled" -}}
{{- or .Values.agent.enabled (not .Values.shim.enabled) }}
{{- end }}

{{- define "oomwitness.agentName" -}}
{{- include "oomwitness.fullname" . }}-agent
{{- end }}

{{- define "oomwitness.agentAccount" -}}
{{- .Values.agent.serviceAccountName | default (include "oomwitness.agentName" .) }}
{{- end }}

{{- /* containerd's socket as the agent uses it, "" for none. */}}
{{- define "oomwitness.agentSocket" -}}
{{- with .Values.agent.containerdSocket }}
{{- if ne . "auto" }}{{ . }}{{ else if $.Values.shim.enabled }}{{ $.Values.node.containerdSocket | default "/run/containerd/containerd.sock" }}{{ end }}
{{- end }}
{{- end }}

{{- /* Folders of the host that the init step writes to, as JSON: each once, and none below another. */}}
{{- define "oomwitness.writable" -}}
{{- $more := .Values.node.writable | default list }}
{{- $dirs := list "/etc" .Values.node.binDir .Values.node.confDir | compact }}
{{- if and .Values.node.editConfig .Values.node.containerdConfig }}
{{- $dirs = append $dirs (dir .Values.node.containerdConfig) }}
{{- end }}
{{- $kept := list }}
{{- range $dir := concat $dirs $more | uniq }}
{{- $below := false }}
{{- range concat $dirs $more }}
{{- if hasPrefix (printf "%s/" .) $dir }}{{ $below = true }}{{ end }}
{{- end }}
{{- if not $below }}{{ $kept = append $kept $dir }}{{ end }}
{{- end }}
{{- $kept | toJson }}
{{- end }}

{{- /* The shim's settings as TOML, "" for none. The schema has checked each value. */}}
{{- define "oomwitness.settings" -}}
{{- if .Values.shim.enabled }}
{{- range $key, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}{{ $key }} = {{ $value | toJson }}
{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* Where the pods of a DaemonSet or Job run, and who pulls their image. What the agent does not
      say is as the daemonSet says. */}}
{{- define "oomwitness.placement" -}}
priorityClassName: {{ .of.priorityClassName | quote }}
{{- with .top.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $field := list "nodeSelector" "affinity" "tolerations" }}
{{- /* Helm drops what is null. */}}
{{- with get (ternary $.of (default dict $.else) (hasKey $.of $field)) $field }}
{{ $field }}: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}

{{- define "oomwitness.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "oomwitness.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "oomwitness.fullname" .) }}
{{- end }}

{{- /* Labels of a pod beside those by which it is found. */}}
{{- define "oomwitness.podLabels" -}}
{{- with merge dict (.labels | default dict) (.top.Values.commonLabels | default dict) }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{- /* Variables of the owner's, which Helm and the API server merge by their names. */}}
{{- define "oomwitness.extraEnv" -}}
{{- $names := list }}
{{- range concat (.chart | fromYamlArray) (.env | default list) }}
{{- if has .name $names }}
{{- fail (printf "%s.extraEnv: %s is set twice, or by the chart itself" $.of .name) }}
{{- end }}
{{- $names = append $names .name }}
{{- end }}
{{- with .env }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{- define "oomwitness.apiEnv" -}}
{{- with .Values.api.host -}}
- {name: KUBERNETES_SERVICE_HOST, value: {{ . | quote }}}
{{- end }}
{{- with .Values.api.port }}
- {name: KUBERNETES_SERVICE_PORT, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{- /* What a pod needs to be itself towards the API server, for the containers that mount it. */}}
{{- define "oomwitness.tokenVolume" -}}
name: token
projected:
  defaultMode: 0444
  sources:
    - serviceAccountToken: {path: token, expirationSeconds: 3600}
    - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
    - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
{{- end }}

{{- define "oomwitness.tokenMount" -}}
{name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end }}

{{- /* A container that may do nothing in particular. */}}
{{- define "oomwitness.harmless" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
{{- end }}
