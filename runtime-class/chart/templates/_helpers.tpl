{{- define "oomwitness.labels" -}}
app.kubernetes.io/name: oomwitness
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "oomwitness.selector" -}}
app.kubernetes.io/name: oomwitness
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: node
{{- end }}

{{- define "oomwitness.agentSelector" -}}
app.kubernetes.io/name: oomwitness
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: agent
{{- end }}

{{- define "oomwitness.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{- define "oomwitness.serviceAccount" -}}
{{- .Values.serviceAccount.name | default .Release.Name }}
{{- end }}

{{- /* Names of cluster-wide objects: two releases do not share them. */}}
{{- define "oomwitness.clusterName" -}}
{{- printf "%s-%s" .Release.Namespace .Release.Name | trunc 50 | trimSuffix "-" }}
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
