package otlp

import (
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Variables of the OpenTelemetry specification that decide whether records are sent, and
// where to (opentelemetry.io/docs/specs/otel/protocol/exporter). The exporter of the SDK
// reads the others: headers, certificates, compression, timeout.
const (
	envLogsEndpoint = "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
	envEndpoint     = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envLogsProtocol = "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"
	envProtocol     = "OTEL_EXPORTER_OTLP_PROTOCOL"
	envExporter     = "OTEL_LOGS_EXPORTER"
	envDisabled     = "OTEL_SDK_DISABLED"
	envLogsHeaders  = "OTEL_EXPORTER_OTLP_LOGS_HEADERS"
	envHeaders      = "OTEL_EXPORTER_OTLP_HEADERS"

	logsPath = "/v1/logs"
	protocol = "http/protobuf"
)

// Endpoint returns the URL to which records are posted, "" for no export. flag is the
// value of --otlp-endpoint. Without the flag, the variables of the specification name the
// endpoint.
func Endpoint(flag string) (string, error) {
	if flag != "" {
		return parseEndpoint("--otlp-endpoint", flag, true)
	}
	if strings.EqualFold(os.Getenv(envDisabled), "true") {
		return "", nil
	}
	switch exporter := os.Getenv(envExporter); exporter {
	case "", "otlp":
	case "none":
		return "", nil
	default:
		return "", fmt.Errorf("$%s %q: allowed are otlp and none", envExporter, exporter)
	}
	if value := os.Getenv(envLogsEndpoint); value != "" {
		return parseEndpoint("$"+envLogsEndpoint, value, false)
	}
	if value := os.Getenv(envEndpoint); value != "" {
		return parseEndpoint("$"+envEndpoint, value, true)
	}
	return "", nil
}

// parseEndpoint returns the URL in value, whose source is name. A base gets the path of
// logs, as the specification says of the variable for all signals.
func parseEndpoint(name, value string, base bool) (string, error) {
	for _, env := range []string{envLogsProtocol, envProtocol} {
		if p := os.Getenv(env); p != "" && p != protocol {
			return "", fmt.Errorf("$%s %q: allowed is %s", env, p, protocol)
		}
	}
	if err := checkHeaders(); err != nil {
		return "", err
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" ||
		u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%s %s: allowed is a URL of http or https without user and query, such as http://collector:4318", name, shown(value))
	}
	if base && !strings.HasSuffix(u.Path, logsPath) {
		u = u.JoinPath(logsPath)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String(), nil
}

// shown quotes a value for an error, unless a user or a query in it may be a secret.
func shown(value string) string {
	if strings.ContainsAny(value, "@?") {
		return "(not shown: it may have a secret)"
	}
	return strconv.Quote(value)
}

// checkHeaders checks the variables that the exporter reads: the exporter would log what is
// wrong with its value (convHeaders of otlploghttp v0.23.0), which may be a secret.
func checkHeaders() error {
	for _, env := range []string{envLogsHeaders, envHeaders} {
		for pair := range strings.SplitSeq(os.Getenv(env), ",") {
			name, value, found := strings.Cut(pair, "=")
			_, err := url.PathUnescape(value)
			if pair != "" && (!found || err != nil || !httpguts.ValidHeaderFieldName(strings.TrimSpace(name))) {
				return fmt.Errorf("$%s (not shown: it may have a secret): allowed are pairs NAME=VALUE with commas between, the values URL-encoded", env)
			}
		}
	}
	return nil
}
