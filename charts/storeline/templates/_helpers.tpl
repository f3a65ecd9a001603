{{- define "storeline.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 35 | trimSuffix "-" -}}
{{- end -}}

{{/* What never changes of a component, so that it can be selected by. Takes root and name. */}}
{{- define "storeline.selector" -}}
app.kubernetes.io/name: storeline
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "storeline.labels" -}}
{{ include "storeline.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "storeline.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "storeline.distributed" -}}{{ if not .Values.allInOne.enabled }}true{{ end }}{{- end -}}

{{- define "storeline.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{- define "storeline.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* What a mesh wants to see at a pod. */}}
{{- define "storeline.meshLabels" -}}
{{- if eq .Values.mesh.provider "istio-ambient" -}}
istio.io/dataplane-mode: ambient
{{- end -}}
{{- end -}}

{{- define "storeline.meshAnnotations" -}}
{{- if eq .Values.mesh.provider "linkerd" -}}
linkerd.io/inject: enabled
config.alpha.linkerd.io/proxy-enable-native-sidecar: "true"
{{- /* PostgreSQL, Kafka and Redis bring encryption of their own, and are outside of the mesh. */}}
config.linkerd.io/skip-outbound-ports: {{ printf "%d,%d,%d" (int .Values.postgresql.port) (int .Values.kafka.port) (int .Values.redis.port) | quote }}
{{- end -}}
{{- end -}}

{{/* Whose signature the database's certificate has, as a volume and where it is mounted. */}}
{{- define "storeline.databaseCaMount" -}}
{{- if .Values.postgresql.caConfigMap -}}
- { name: postgresql-ca, mountPath: /etc/storeline/postgresql, readOnly: true }
{{- end -}}
{{- end -}}

{{- define "storeline.databaseCaVolume" -}}
{{- with .Values.postgresql.caConfigMap -}}
- name: postgresql-ca
  configMap:
    name: {{ . }}
    items: [{ key: ca.crt, path: ca.crt }]
{{- end -}}
{{- end -}}

{{/* Where a pod may run. Takes root and name. */}}
{{- define "storeline.placement" -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets: {{ toJson . }}
{{- end }}
{{- with .root.Values.scheduling }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The Secret of a program. Takes root and name. */}}
{{- define "storeline.secretName" -}}
{{- $service := include "storeline.service" . | fromYaml -}}
{{- $service.existingSecret | default (printf "%s-%s" (include "storeline.fullname" .root) .name) -}}
{{- end -}}

{{- define "storeline.migrateSecretName" -}}
{{- $service := include "storeline.service" . | fromYaml -}}
{{- $service.existingMigrateSecret | default (printf "%s-%s-migrate" (include "storeline.fullname" .root) .name) -}}
{{- end -}}

{{- define "storeline.operatorSecretName" -}}
{{- .Values.operator.existingSecret | default (printf "%s-operator" (include "storeline.fullname" .)) -}}
{{- end -}}

{{/* Values that are right one by one and wrong together. */}}
{{- define "storeline.validate" -}}
{{- with .Values -}}
{{- if not .payment.provider -}}
{{- fail "payment.provider must be named. `simulator` takes no money and gives goods away: name it only where that is wanted" -}}
{{- end -}}
{{- if and .allInOne.enabled (ne .payment.provider "simulator") -}}
{{- fail "allInOne.enabled: the all-in-one pays with the simulator alone, so payment.provider must be `simulator`" -}}
{{- end -}}
{{- if and .allInOne.enabled .monitoring.prometheusRule.enabled -}}
{{- fail "monitoring.prometheusRule.enabled: the alerts are about services as programs of their own; they would always ring in the all-in-one" -}}
{{- end -}}
{{- if and .allInOne.enabled .audit.enabled -}}
{{- fail "audit.enabled: the audit as a job reads the databases of services as programs of their own" -}}
{{- end -}}
{{- if and .autoscaling.enabled .autoscaling.keda.enabled (not .autoscaling.keda.prometheus) -}}
{{- fail "autoscaling.keda.prometheus must say where KEDA finds Prometheus" -}}
{{- end -}}
{{- if and .tracing.enabled (not .tracing.endpoint) -}}
{{- fail "tracing.endpoint must say where the OpenTelemetry collector is" -}}
{{- end -}}
{{- if and .secrets.external.enabled (not .secrets.external.store) -}}
{{- fail "secrets.external.store must name the store of External Secrets" -}}
{{- end -}}
{{- if not .allInOne.enabled -}}
{{- if not .kafka.brokers }}{{ fail "kafka.brokers must name brokers, host:port" }}{{ end -}}
{{- if and (hasPrefix "sasl_" .kafka.security) (not .kafka.username) }}{{ fail "kafka.username must be set when kafka.security is sasl_.." }}{{ end -}}
{{- if and .kafka.caConfigMap (not (hasSuffix "tls" .kafka.security)) }}{{ fail "kafka.caConfigMap is of no use unless kafka.security is tls or sasl_tls" }}{{ end -}}
{{- if gt (int .kafka.minInsync) (int .kafka.replication) }}{{ fail "kafka.minInsync must not be more than kafka.replication" }}{{ end -}}
{{- if .networkPolicy.enabled -}}
{{- if not .postgresql.peers }}{{ fail "postgresql.peers must say where the databases are, or networkPolicy.enabled be false" }}{{ end -}}
{{- if not .kafka.peers }}{{ fail "kafka.peers must say where the brokers are, or networkPolicy.enabled be false" }}{{ end -}}
{{- if and .redis.enabled (not .redis.peers) }}{{ fail "redis.peers must say where Redis is, or networkPolicy.enabled be false" }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if and .networkPolicy.enabled .tracing.enabled (not .tracing.peers) }}{{ fail "tracing.peers must say where the collector is, or networkPolicy.enabled be false" }}{{ end -}}
{{- if and .gatewayApi.enabled (not .gatewayApi.create) (not .gatewayApi.parentRefs) -}}
{{- fail "gatewayApi.parentRefs must name a Gateway, or gatewayApi.create be true" -}}
{{- end -}}
{{- if and (eq .mesh.provider "vpc-lattice") (not .gatewayApi.enabled) -}}
{{- fail "mesh.provider vpc-lattice needs gatewayApi.enabled: Lattice knows services by their routes" -}}
{{- end -}}
{{- if and (eq .mesh.provider "vpc-lattice") .gatewayApi.grpc.enabled -}}
{{- fail "gatewayApi.grpc.enabled: VPC Lattice takes gRPC on HTTPS listeners alone, and the services speak without TLS" -}}
{{- end -}}
{{- end -}}
{{- end -}}
