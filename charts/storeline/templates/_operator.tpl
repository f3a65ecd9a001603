{{/* The operator's command line as a pod: tests and the audit. */}}

{{- define "storeline.operatorKeys" -}}
operator.token
{{- range $_, $program := include "storeline.programs" . | fromYaml }}{{ with $program.context }},{{ . }}.url{{ end }}{{ end -}}
{{- end -}}

{{/* The port at which an audit hands its result over, if there is somebody who asks for it. */}}
{{- define "storeline.auditMetrics" -}}
{{- if and .Values.audit.enabled .Values.monitoring.serviceMonitor.enabled }}{{ include "storeline.adminPort" . }}{{ end -}}
{{- end -}}

{{/* Takes root, command, databases: whether it reads them, and metrics: a port, if it serves any. */}}
{{- define "storeline.operatorPod" -}}
{{- $root := .root -}}
{{- $full := include "storeline.fullname" $root -}}
{{- $folder := include "storeline.secretsFolder" $root -}}
{{- $inside := $root.Values.allInOne.enabled -}}
restartPolicy: Never
serviceAccountName: {{ $full }}-operator
automountServiceAccountToken: false
enableServiceLinks: false
securityContext: {{- include "storeline.podSecurity" $root | nindent 2 }}
{{- include "storeline.placement" (dict "root" $root) }}
{{- if $inside }}
{{- /* It reads the token that the all-in-one made, in a volume that one node has. */}}
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "storeline.selector" (dict "root" $root "name" "shop") | nindent 12 }}
{{- end }}
containers:
  - name: shop
    image: {{ include "storeline.image" $root }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    command: [shop]
    args: {{ toJson .command }}
    {{- with .metrics }}
    ports: [{ name: admin, containerPort: {{ . }} }]
    {{- end }}
    env:
      - { name: STORELINE_GATEWAY_URL, value: "http://{{ $full }}-api-gateway:80" }
      - { name: STORELINE_OPERATOR_TOKEN_FILE, value: {{ ternary "/shop/operator.token" (printf "%s/operator.token" $folder) $inside }} }
      {{- range $name, $program := include "storeline.programs" $root | fromYaml }}
      {{- if $program.context }}
      - { name: STORELINE_{{ upper $program.context }}_ADDRESS, value: "{{ $full }}-{{ ternary "api-gateway" $name $inside }}:{{ $program.grpc }}" }
      {{- if $.databases }}
      - { name: STORELINE_{{ upper $program.context }}_DATABASE_URL_FILE, value: {{ $folder }}/{{ $program.context }}.url }
      {{- end }}
      {{- end }}
      {{- end }}
    resources:
      requests: { cpu: 100m, memory: 64Mi }
      limits: { memory: 512Mi }
    securityContext: {{- include "storeline.containerSecurity" $root | nindent 6 }}
    volumeMounts:
      # Journals of imports, for as long as the pod is there.
      - { name: data, mountPath: /data }
      - { name: tmp, mountPath: /tmp }
      {{- if $inside }}
      - { name: shop, mountPath: /shop, readOnly: true }
      {{- else }}
      - { name: secrets, mountPath: {{ $folder }}, readOnly: true }
      {{- if $.databases }}
      {{- include "storeline.databaseCaMount" $root | nindent 6 }}
      {{- end }}
      {{- end }}
volumes:
  - name: data
    emptyDir: { sizeLimit: 256Mi }
  - name: tmp
    emptyDir: { sizeLimit: 64Mi }
  {{- if $inside }}
  - name: shop
    persistentVolumeClaim: { claimName: data-{{ $full }}-shop-0, readOnly: true }
  {{- else }}
  - name: secrets
    secret:
      secretName: {{ include "storeline.operatorSecretName" $root }}
      defaultMode: 0440
      {{- if not .databases }}
      items: [{ key: operator.token, path: operator.token }]
      {{- else }}
  {{- include "storeline.databaseCaVolume" $root | nindent 2 }}
      {{- end }}
  {{- end }}
{{- end -}}
