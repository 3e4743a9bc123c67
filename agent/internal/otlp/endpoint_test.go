package otlp_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/agent/internal/otlp"
)

func TestEndpoint(t *testing.T) {
	const base, logs, exporter = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "OTEL_LOGS_EXPORTER"
	const headers, logHeaders = "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_LOGS_HEADERS"
	for _, c := range []struct {
		flag string
		env  map[string]string
		want string // of an error, "!" and what the error has
	}{
		{"", nil, ""},
		{"http://c:4318", nil, "http://c:4318/v1/logs"},
		{"https://c/", nil, "https://c/v1/logs"},
		{"http://c:4318/v1/logs", nil, "http://c:4318/v1/logs"},
		{"http://[::1]:4318/otlp", nil, "http://[::1]:4318/otlp/v1/logs"},
		{"http://flag", map[string]string{base: "http://env", "OTEL_SDK_DISABLED": "true"}, "http://flag/v1/logs"},
		{"", map[string]string{base: "http://env/x"}, "http://env/x/v1/logs"},
		{"", map[string]string{base: "http://env", logs: "http://exact"}, "http://exact/"},
		{"", map[string]string{logs: "http://exact/in"}, "http://exact/in"},
		{"", map[string]string{base: "http://env", exporter: "none"}, ""},
		{"", map[string]string{base: "http://env", exporter: "otlp"}, "http://env/v1/logs"},
		{"", map[string]string{base: "http://env", "OTEL_SDK_DISABLED": "TRUE"}, ""},
		{"", map[string]string{base: "http://env", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "http://env/v1/logs"},
		{"", map[string]string{base: "http://env", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, `!$OTEL_EXPORTER_OTLP_PROTOCOL "grpc": allowed is http/protobuf`},
		{"", map[string]string{base: "http://env", exporter: "console"}, `!$OTEL_LOGS_EXPORTER "console": allowed are otlp and none`},
		{"", map[string]string{base: "collector:4317"}, `!$OTEL_EXPORTER_OTLP_ENDPOINT "collector:4317": allowed is a URL`},
		{"", map[string]string{logs: "unix:///run/c.sock"}, "!$OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"},
		{"collector", nil, `!--otlp-endpoint "collector": allowed is a URL`},
		{"http://", nil, "!--otlp-endpoint"}, {"http://:4318", nil, "!--otlp-endpoint"}, {"ftp://c", nil, "!--otlp-endpoint"},
		{"http://u:secret@c", nil, "!--otlp-endpoint (not shown"}, {"http://c?token=secret", nil, "!--otlp-endpoint (not shown"},
		{"http://u:secret@c:port", nil, "!--otlp-endpoint (not shown"},
		{"http://c", map[string]string{headers: "Authorization: Bearer secret"}, "!$" + headers + " (not shown"},
		{"http://c", map[string]string{logHeaders: "a=1,b=%zzsecret"}, "!$" + logHeaders + " (not shown"},
		{"http://c", map[string]string{headers: "a b=secret"}, "!$" + headers + " (not shown"},
		{"http://c", map[string]string{headers: "api-key=secret, b=%20c"}, "http://c/v1/logs"},
		{"http://u:p@c", nil, "!--otlp-endpoint"}, {"http://c?x=1", nil, "!--otlp-endpoint"}, {"http://c:port", nil, "!--otlp-endpoint"},
	} {
		t.Run(c.flag, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			got, err := otlp.Endpoint(c.flag)
			if c.want != "" && c.want[0] == '!' {
				require.ErrorContains(t, err, c.want[1:])
				require.NotContains(t, err.Error(), "secret@")
				require.NotContains(t, err.Error(), "=secret")
				require.NotContains(t, err.Error(), "Bearer")
				require.NotContains(t, err.Error(), "zzsecret")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
