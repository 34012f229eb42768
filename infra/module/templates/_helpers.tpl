{{- /* No helm_lib: the library comes from a charts repository that the build does not need; these few lines are all that would be used of it. */ -}}

{{- /* (list . "component"): labels of a platform's object: only Deckhouse changes what says heritage. */ -}}
{{- define "mpo_relay_labels" -}}
heritage: deckhouse
module: mpo-relay
app.kubernetes.io/name: mpo-relay
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- /* What a pod is found by: never changed afterwards. */ -}}
{{- define "mpo_relay_selector" -}}
app.kubernetes.io/name: mpo-relay
app.kubernetes.io/component: {{ . }}
{{- end -}}

{{- define "mpo_relay_component" -}}
{{- required "mpoRelay.mode: write Serve or Worker" .Values.mpoRelay.mode | lower -}}
{{- end -}}

{{- /* Lies beside the module's own image, by the digest that the release wrote into images_digests.json. */ -}}
{{- define "mpo_relay_image" -}}
{{- $digest := dig "mpoRelay" "mpoRelay" "" .Values.global.modulesImages.digests | required "the image mpoRelay has no digest" -}}
{{- printf "%s/mpo-relay@%s" (trimSuffix "/" .Values.mpoRelay.registry.base) $digest -}}
{{- end -}}

{{- define "mpo_relay_https" -}}
{{- $own := .Values.mpoRelay.https | default dict -}}
{{- $https := ternary $own .Values.global.modules.https (hasKey $own "mode") -}}
{{- if and (eq $https.mode "CertManager") (not (has "cert-manager" .Values.global.enabledModules)) -}}
{{- fail "https.mode is CertManager, but the module cert-manager is not enabled" -}}
{{- end -}}
{{- if eq $https.mode "CustomCertificate" -}}
{{- if not (dig "customCertificate" "secretName" "" $own) -}}
{{- fail "https.mode is CustomCertificate: name a Secret of the namespace mpo-relay in settings.https.customCertificate.secretName" -}}
{{- end -}}
{{- end -}}
{{- $https | toYaml -}}
{{- end -}}

{{- define "mpo_relay_host" -}}
{{- .Values.mpoRelay.host | default (printf .Values.global.modules.publicDomainTemplate "mpo-relay") -}}
{{- end -}}

{{- /* A file of the Secret, as the relay's configuration names it. */ -}}
{{- define "mpo_relay_file" -}}
{{- printf "file:/run/secrets/mpo-relay/%s" . -}}
{{- end -}}

{{- /* (list dict target, dict from, "fromKey", "key") …: moves a …Key into a reference. */ -}}
{{- define "mpo_relay_move" -}}
{{- $of := index . 0 -}}{{- $from := index . 1 -}}
{{- if hasKey $of $from -}}
{{- $_ := set $of (index . 2) (include "mpo_relay_file" (get $of $from)) -}}
{{- $_ := unset $of $from -}}
{{- end -}}
{{- end -}}

{{- /* relay.yaml, for infra/configuration.md in the relay's repository. */ -}}
{{- define "mpo_relay_config" -}}
{{- $settings := .Values.mpoRelay -}}
{{- $config := pick $settings "journal" "tuning" "limits" -}}
{{- if $settings.metrics -}}
{{- $_ := set $config "admin" (dict "host" "0.0.0.0" "port" 9090) -}}
{{- end -}}
{{- $this := pick $settings "events" "adopt" "uid" -}}
{{- $_ := set $this "kubernetes" (dict "inCluster" true) -}}
{{- $clusters := dict $settings.cluster $this -}}
{{- if eq $settings.mode "Serve" -}}
{{- $_ := set $this "queue" "embedded:/var/lib/mpo-relay" -}}
{{- $webhooks := deepCopy $settings.webhooks -}}
{{- range $webhooks -}}
{{- include "mpo_relay_move" (list . "secretKey" "secret") -}}
{{- include "mpo_relay_move" (list . "previousSecretKey" "previousSecret") -}}
{{- end -}}
{{- $sources := deepCopy $settings.sources -}}
{{- range $sources -}}
{{- with .registry -}}
{{- include "mpo_relay_move" (list . "passwordKey" "password") -}}
{{- include "mpo_relay_move" (list . "dockerConfigKey" "dockerConfig") -}}
{{- include "mpo_relay_move" (list . "caKey" "ca") -}}
{{- end -}}
{{- end -}}
{{- $_ := set $config "webhooks" $webhooks -}}
{{- $_ := set $config "sources" $sources -}}
{{- $_ := set $config "listen" (dict "host" "0.0.0.0" "port" 8080) -}}
{{- with $settings.hub -}}
{{- range $name, $lent := deepCopy .clusters -}}
{{- $_ := set $lent "queue" "embedded:/var/lib/mpo-relay" -}}
{{- include "mpo_relay_move" (list $lent "tokenKey" "hubToken") -}}
{{- include "mpo_relay_move" (list $lent "previousTokenKey" "previousHubToken") -}}
{{- if hasKey $lent "previousTokenUntil" -}}
{{- $_ := set $lent "previousHubTokenUntil" $lent.previousTokenUntil -}}
{{- $_ := unset $lent "previousTokenUntil" -}}
{{- end -}}
{{- if hasKey $clusters $name -}}{{- fail (printf "hub.clusters.%s: this cluster has that name" $name) -}}{{- end -}}
{{- $_ := set $clusters $name $lent -}}
{{- end -}}
{{- $hub := dict "listen" (dict "host" "0.0.0.0" "port" 8443) -}}
{{- $_ := set $hub "certificate" (include "mpo_relay_file" .certificateKey) -}}
{{- $_ := set $hub "key" (include "mpo_relay_file" .privateKeyKey) -}}
{{- $_ := set $config "hub" $hub -}}
{{- end -}}
{{- else -}}
{{- $queue := omit $settings.queue "awsCredentialsKey" -}}
{{- $_ := set $queue "queue" $queue.url -}}
{{- $_ := unset $queue "url" -}}
{{- include "mpo_relay_move" (list $queue "tokenKey" "hubToken") -}}
{{- include "mpo_relay_move" (list $queue "caKey" "hubCa") -}}
{{- $_ := merge $this $queue -}}
{{- end -}}
{{- $_ := set $config "clusters" $clusters -}}
{{- $config | toYaml -}}
{{- end -}}

{{- /* Whether any setting names a file of the Secret. */ -}}
{{- define "mpo_relay_secret" -}}
{{- if or (contains "file:/run/secrets/mpo-relay/" (include "mpo_relay_config" .)) (dig "queue" "awsCredentialsKey" "" .Values.mpoRelay) -}}
needed
{{- end -}}
{{- end -}}
