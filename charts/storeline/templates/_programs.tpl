{{/*
What the programs are: facts that no values can change. `secrets` are the keys that a program's Secret holds, with the
variables that name the files; `database`, `kafka` and `redis` say whom a program talks to.
*/}}
{{- define "storeline.programs" -}}
api-gateway:
  http: 8080
  redis: true
product-service:
  context: product
  grpc: 50051
  redis: true
inventory-service:
  context: inventory
  grpc: 50052
order-service:
  context: order
  grpc: 50053
  secrets:
    order-token.keys: STORELINE_ORDER_TOKEN_KEYS_FILE
    personal-data.keys: STORELINE_PERSONAL_DATA_KEYS_FILE
payment-service:
  context: payment
  grpc: 50054
saga-orchestrator:
  context: saga
  grpc: 50055
{{- end -}}

{{- define "storeline.adminPort" -}}9464{{- end -}}
{{- define "storeline.secretsFolder" -}}/run/secrets/storeline{{- end -}}

{{/* A service's values: its own over the defaults. Takes root and name. */}}
{{- define "storeline.service" -}}
{{- $own := get .root.Values.services .name | default dict -}}
{{- mustMergeOverwrite (deepCopy .root.Values.serviceDefaults) (deepCopy $own) | toYaml -}}
{{- end -}}

{{/* The keys of a program's Secret, each with the variable that names its file. Takes root and name. */}}
{{- define "storeline.secretKeys" -}}
{{- $program := get (include "storeline.programs" . | fromYaml) .name -}}
{{- $keys := dict -}}
{{- if $program.context -}}
{{- $_ := set $keys "database.url" "DATABASE_URL_FILE" -}}
{{- $_ := set $keys "operator.tokens" "STORELINE_OPERATOR_TOKENS_FILE" -}}
{{- $_ := set $keys "service.tokens" "STORELINE_SERVICE_TOKENS_FILE" -}}
{{- if hasPrefix "sasl_" .root.Values.kafka.security -}}
{{- $_ := set $keys "kafka.password" "STORELINE_KAFKA_PASSWORD_FILE" -}}
{{- end -}}
{{- end -}}
{{- if and $program.redis .root.Values.redis.enabled -}}
{{- $_ := set $keys "redis.url" "STORELINE_REDIS_URL_FILE" -}}
{{- end -}}
{{- mustMerge $keys ($program.secrets | default dict) | toYaml -}}
{{- end -}}

{{/* The variables of a program that are no secrets. Takes root and name. */}}
{{- define "storeline.environment" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
{{- $name := .name -}}
{{- $programs := include "storeline.programs" . | fromYaml -}}
{{- $program := get $programs $name -}}
{{- $service := include "storeline.service" . | fromYaml -}}
{{- $folder := include "storeline.secretsFolder" . -}}
{{- $env := dict "LOG_FORMAT" "json" -}}
{{- $_ := set $env "STORELINE_ADMIN" (printf "0.0.0.0:%s" (include "storeline.adminPort" .)) -}}
{{- $_ := set $env "STORELINE_DRAIN_LIMIT" (printf "%ds" (int $values.drainSeconds)) -}}
{{- with $values.logFilter }}{{ $_ := set $env "LOG_FILTER" . }}{{ end -}}
{{- if $values.tracing.enabled }}{{ $_ := set $env "OTLP_ENDPOINT" $values.tracing.endpoint }}{{ end -}}
{{- if $program.context -}}
{{- $_ := set $env "BUS" "kafka" -}}
{{- $_ := set $env "STORELINE_GRPC" (printf "0.0.0.0:%d" (int $program.grpc)) -}}
{{- $_ := set $env "STORELINE_KAFKA_BROKERS" (join "," $values.kafka.brokers) -}}
{{- $_ := set $env "STORELINE_KAFKA_PARTITIONS" (toString $values.kafka.partitions) -}}
{{- $_ := set $env "STORELINE_KAFKA_REPLICATION" (toString $values.kafka.replication) -}}
{{- $_ := set $env "STORELINE_KAFKA_MIN_INSYNC" (toString $values.kafka.minInsync) -}}
{{- $_ := set $env "STORELINE_KAFKA_GROUP_PROTOCOL" $values.kafka.groupProtocol -}}
{{- $_ := set $env "STORELINE_KAFKA_SECURITY" $values.kafka.security -}}
{{- with $values.kafka.topicPrefix }}{{ $_ := set $env "STORELINE_KAFKA_TOPIC_PREFIX" . }}{{ end -}}
{{- if hasPrefix "sasl_" $values.kafka.security -}}
{{- $_ := set $env "STORELINE_KAFKA_SASL_MECHANISM" $values.kafka.saslMechanism -}}
{{- $_ := set $env "STORELINE_KAFKA_USERNAME" $values.kafka.username -}}
{{- end -}}
{{- if hasSuffix "tls" $values.kafka.security -}}
{{- $_ := set $env "STORELINE_KAFKA_CA_FILE" (ternary "/etc/storeline/kafka/ca.crt" "/etc/ssl/certs/ca-certificates.crt" (not (empty $values.kafka.caConfigMap))) -}}
{{- end -}}
{{- if eq $program.context "payment" }}{{ $_ := set $env "STORELINE_PAYMENT_PROVIDER" $values.payment.provider }}{{ end -}}
{{- else -}}
{{- $_ := set $env "STORELINE_HTTP" (printf "0.0.0.0:%d" (int $program.http)) -}}
{{- range $other, $facts := $programs -}}
{{- if $facts.context -}}
{{- $_ := set $env (printf "STORELINE_%s_ADDRESS" (upper $facts.context)) (printf "%s-%s-headless.%s.svc.%s.:%d" (include "storeline.fullname" $root) $other $root.Release.Namespace $values.clusterDomain (int $facts.grpc)) -}}
{{- end -}}
{{- end -}}
{{- with $values.gateway.corsOrigins }}{{ $_ := set $env "STORELINE_CORS_ORIGINS" (join "," .) }}{{ end -}}
{{- with $values.gateway.trustedProxies }}{{ $_ := set $env "STORELINE_TRUSTED_PROXIES" (join "," .) }}{{ end -}}
{{- end -}}
{{- if and $program.redis $values.redis.enabled -}}
{{- $_ := set $env "STORELINE_REDIS_PREFIX" ($values.redis.keyPrefix | default (printf "%s/%s:" $root.Release.Namespace (include "storeline.fullname" $root) | trunc 100)) -}}
{{- if $values.redis.caConfigMap }}{{ $_ := set $env "STORELINE_REDIS_CA_FILE" "/etc/storeline/redis/ca.crt" }}{{ end -}}
{{- end -}}
{{- range $key, $variable := include "storeline.secretKeys" . | fromYaml -}}
{{- $_ := set $env $variable (printf "%s/%s" $folder $key) -}}
{{- end -}}
{{- mustMergeOverwrite $env (deepCopy $service.env) | toYaml -}}
{{- end -}}
