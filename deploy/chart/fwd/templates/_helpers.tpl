{{- /* SPDX-License-Identifier: Apache-2.0 */ -}}
{{- define "fwd.labels" -}}
app.kubernetes.io/name: fwd
{{- end }}

{{- /* What cannot be, said before anything is installed. */ -}}
{{- define "fwd.refuse" -}}
{{- if ne .Values.flannel.backend "vxlan" }}
{{- fail (printf "flannel.backend: fwd has no backend %q, only vxlan" .Values.flannel.backend) }}
{{- end }}
{{- if .Values.netpol.enabled }}
{{- fail "netpol.enabled: install kube-network-policies by itself, it needs nothing of fwd" }}
{{- end }}
{{- if not (or .Values.podCidr .Values.podCidrv6) }}
{{- fail "podCidr, podCidrv6: give at least one" }}
{{- end }}
{{- $own := .Values.fwd }}
{{- if and $own.podMonitor (not $own.metrics) }}
{{- fail "fwd.podMonitor: set fwd.metrics, or Prometheus asks where nobody listens" }}
{{- end }}
{{- if and $own.metrics (not .Values.flannel.healthz.port) }}
{{- fail "fwd.metrics: flannel.healthz.port is 0, so that nobody would listen" }}
{{- end }}
{{- if and $own.metrics (ne $own.healthzIP "127.0.0.1") }}
{{- fail "fwd.metrics, fwd.healthzIP: give one of the two" }}
{{- end }}
{{- end }}

{{- /* What is not given is left to the defaults of fwd, which are flannel's. */ -}}
{{- define "fwd.netConf" -}}
{{- $flannel := .Values.flannel -}}
{{- $conf := dict "EnableNFTables" $flannel.enableNFTables -}}
{{- $backend := dict "Type" $flannel.backend -}}
{{- if .Values.podCidr }}
{{- $_ := set $conf "Network" .Values.podCidr }}
{{- else }}
{{- $_ := set $conf "EnableIPv4" false }}
{{- end }}
{{- if .Values.podCidrv6 }}
{{- $_ := set $conf "IPv6Network" .Values.podCidrv6 }}
{{- $_ := set $conf "EnableIPv6" true }}
{{- end }}
{{- range $name, $value := dict "Port" $flannel.backendPort "MTU" $flannel.mtu "VNI" $flannel.vni }}
{{- if $value }}{{ $_ := set $backend $name (int $value) }}{{ end }}
{{- end }}
{{- range $name, $value := dict "GBP" $flannel.GBP "DirectRouting" $flannel.directRouting }}
{{- if $value }}{{ $_ := set $backend $name true }}{{ end }}
{{- end }}
{{- $_ := set $conf "Backend" $backend -}}
{{- toPrettyJson $conf -}}
{{- end }}
