{{/*
What replaces AWS App Mesh, which was shut down in September 2026: ambient Istio (encryption and identity without sidecars),
Linkerd (the same with its own small sidecar, and balancing by request), or Amazon VPC Lattice (calls between clusters and VPCs).
*/}}
{{- define "storeline.meshPorts" -}}
{{- $pods := dict "podSelector" (dict "matchLabels" (dict "app.kubernetes.io/name" "storeline" "app.kubernetes.io/instance" .Release.Name)) -}}
{{- $namespace := dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" .Values.mesh.namespace)) -}}
{{- if eq .Values.mesh.provider "istio-ambient" -}}
{{- $hbone := list (dict "protocol" "TCP" "port" 15008) -}}
{{- /* The kubelet's probes arrive from this address in ambient mode. */ -}}
{{- $kubelet := dict "from" (list (dict "ipBlock" (dict "cidr" "169.254.7.127/32"))) -}}
{{- toYaml (dict "ingress" (list (dict "from" (concat (list $pods) .Values.mesh.from) "ports" $hbone) $kubelet) "egress" (list (dict "to" (list $pods) "ports" $hbone))) -}}
{{- else if eq .Values.mesh.provider "linkerd" -}}
{{- $proxy := list (dict "protocol" "TCP" "port" 4143) -}}
{{- $control := list -}}
{{- range $port := list 8080 8086 8090 -}}{{- $control = append $control (dict "protocol" "TCP" "port" $port) -}}{{- end -}}
{{- toYaml (dict "ingress" (list (dict "from" (concat (list $pods) .Values.mesh.from) "ports" $proxy)) "egress" (list (dict "to" (list $pods) "ports" $proxy) (dict "to" (list $namespace) "ports" $control))) -}}
{{- end -}}
{{- end -}}
