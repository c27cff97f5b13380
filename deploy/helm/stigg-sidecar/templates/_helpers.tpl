{{- define "stigg-sidecar.name" -}}
{{- if eq .Values.mode "sidecar" }}{{ .Values.application.name }}{{ else }}{{ .Release.Name }}{{ end }}
{{- end }}

{{- define "stigg-sidecar.labels" -}}
app.kubernetes.io/name: {{ include "stigg-sidecar.name" . }}
{{- end }}

{{- define "stigg-sidecar.image" -}}
{{ .Values.image.repository }}{{ if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "stigg-sidecar.env" -}}
- name: SERVER_API_KEY
  valueFrom: {secretKeyRef: {name: {{ .Values.apiKey.existingSecret }}, key: {{ .Values.apiKey.key }}}}
{{- with .Values.redis }}
{{- if ne .topology "none" }}
- {name: REDIS_ENVIRONMENT_PREFIX, value: {{ .environmentPrefix | quote }}}
{{- if eq .topology "plain" }}
- {name: REDIS_HOST, value: {{ .host | quote }}}
{{- if ne (int .port) 6379 }}
- {name: REDIS_PORT, value: {{ .port | quote }}}
{{- end }}
{{- else if eq .topology "sentinel" }}
- {name: SIDECAR_REDIS_SENTINELS, value: {{ join "," .sentinels | quote }}}
- {name: SIDECAR_REDIS_SENTINEL_MASTER, value: {{ .sentinelMaster | quote }}}
{{- if .sentinelPasswordSecret.name }}
- name: SIDECAR_REDIS_SENTINEL_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .sentinelPasswordSecret.name }}, key: {{ .sentinelPasswordSecret.key }}}}
{{- end }}
{{- else }}
- {name: SIDECAR_REDIS_MODE, value: cluster}
- {name: SIDECAR_REDIS_NODES, value: {{ join "," .nodes | quote }}}
{{- end }}
{{- if and .db (ne .topology "cluster") }}
- {name: REDIS_DB, value: {{ .db | quote }}}
{{- end }}
{{- if .tls }}
- {name: REDIS_TLS, value: "1"}
{{- if .tlsFiles.secret }}
- {name: SIDECAR_REDIS_CA_FILE, value: /etc/redis-tls/{{ .tlsFiles.ca }}}
{{- if .tlsFiles.cert }}
- {name: SIDECAR_REDIS_CERT_FILE, value: /etc/redis-tls/{{ .tlsFiles.cert }}}
- {name: SIDECAR_REDIS_KEY_FILE, value: /etc/redis-tls/{{ .tlsFiles.key }}}
{{- end }}
{{- end }}
{{- end }}
{{- if .passwordSecret.name }}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .passwordSecret.name }}, key: {{ .passwordSecret.key }}, optional: true}}
{{- end }}
{{- end }}
{{- end }}
{{- $env := .Values.env }}
{{- if eq .Values.mode "standalone" }}
{{- /* A roll-over fails no call: clients hear of it, then are asked to go, within terminationGracePeriodSeconds. */}}
{{- $env = merge (dict) $env (dict "SIDECAR_DRAIN_SECONDS" "5" "SIDECAR_SHUTDOWN_GRACE_SECONDS" "20") }}
{{- /* Without Redis, or while it does not answer, each has its share of the cloud's limit. */}}
{{- $most := ternary .Values.autoscaling.maxReplicas .Values.replicas .Values.autoscaling.enabled }}
{{- $env = merge (dict) $env (dict "SIDECAR_FLEET_SIZE" ($most | toString)) }}
{{- end }}
{{- range $name, $value := $env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- range $name, $secret := .Values.secretEnv }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $secret.name }}, key: {{ $secret.key }}}}
{{- end }}
{{- end }}

{{/* The container, for a pod of this chart or of one that depends on it. */}}
{{- define "stigg-sidecar.container" -}}
name: {{ if eq .Values.mode "sidecar" }}stigg-sidecar{{ else }}sidecar{{ end }}
image: {{ include "stigg-sidecar.image" . }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- if eq .Values.mode "sidecar" }}
restartPolicy: Always # what makes it a sidecar
{{- end }}
env:
  {{- include "stigg-sidecar.env" . | nindent 2 }}
ports:
  - {name: grpc, containerPort: 80}
  - {name: http, containerPort: 8080}
startupProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: http}
readinessProbe:
  httpGet: {path: /readyz, port: http}
  periodSeconds: 5
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  runAsNonRoot: true
  readOnlyRootFilesystem: true
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
volumeMounts:
  - {name: stigg-sidecar-data, mountPath: /data}
  - {name: stigg-sidecar-tmp, mountPath: /tmp}
  {{- if include "stigg-sidecar.has-tls-files" . }}
  - {name: stigg-sidecar-redis-tls, mountPath: /etc/redis-tls, readOnly: true}
  {{- end }}
{{- end }}

{{- define "stigg-sidecar.has-tls-files" -}}
{{- with .Values.redis }}{{ if and (ne .topology "none") .tls .tlsFiles.secret }}yes{{ end }}{{ end }}
{{- end }}

{{- define "stigg-sidecar.volumes" -}}
- name: stigg-sidecar-data
  emptyDir: {sizeLimit: {{ .Values.dataVolume.sizeLimit }}}
- name: stigg-sidecar-tmp
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
{{- if include "stigg-sidecar.has-tls-files" . }}
- name: stigg-sidecar-redis-tls
  secret: {secretName: {{ .Values.redis.tlsFiles.secret }}}
{{- end }}
{{- end }}
