package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/oomwitness/oomwitness/cmd/oomwitness/internal/cli"
)

// TestAgentFlagsAreDocumented: the table in docs/agent.md and the command have the same flags
// with the same defaults.
func TestAgentFlagsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/agent.md")
	require.NoError(t, err)
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `--([a-z-]+)` \\| (?:`([^`]*)`|) ?\\| ").FindAllStringSubmatch(string(doc), -1) {
		documented[row[1]] = row[2]
	}
	agent, _, err := cli.New(io.Discard, io.Discard).Find([]string{"agent"})
	require.NoError(t, err)
	require.Equal(t, "agent", agent.Name())
	there := map[string]string{}
	agent.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" {
			there[f.Name] = strings.TrimSuffix(f.DefValue, "[]") // an empty list
		}
	})
	require.Equal(t, there, documented)
}
